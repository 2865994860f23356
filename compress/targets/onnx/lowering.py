"""Write integers into a float graph: the products with constant weights, and the embedding tables.

Nothing is traced through fake quantization. The float graph is exported, its products are found by the names that the exporter
leaves on them, and scales are written beside them, in the form that the runtime of the target knows how to run.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import convenience

from compress.errors import CompressError
from compress.models.exits import ends_exit
from compress.models.head import LAST_LINEARS
from compress.models.quantizers import QuantizedLinear
from compress.targets.onnx.graph import SCOPES, sweep

MICROSOFT = "com.microsoft"
WRAPPER = "model."  # what graph.py wraps the model in
FLOAT, INT8, UINT8 = ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.UINT8
SHIFT = 128  # from a signed to an unsigned activation
EIGHT_BITS = 127


@dataclass(frozen=True)
class MatMul:
    """A matrix product with a constant weight.

    Args:
        node: The MatMul.
        module: Name of the torch module that it came from.
        weight: (in, out).
        bias: The Add behind it and the vector that it adds, where there is one.
    """

    node: ir.Node
    module: str
    weight: np.ndarray
    bias: tuple[ir.Node, ir.Value] | None


@dataclass(frozen=True)
class QuantParams:
    """How the input of a product becomes whole numbers: (x / divisor) / scale + zero, from -128 to 127."""

    scale: np.ndarray
    zero: int
    divisor: np.ndarray | None

    @classmethod
    def of(cls, linear: QuantizedLinear) -> QuantParams:
        """The grid of a quantized Linear's range."""
        with torch.no_grad():
            scale, zero = linear.input_grid()
            divisor = None if linear.divisor is None else linear.divisor.numpy().astype(np.float32)
        return cls(scale.numpy().astype(np.float32), int(zero), divisor)

    def key(self) -> tuple[Any, ...]:
        """What tells one grid from another."""
        return (float(self.scale), self.zero, None if self.divisor is None else self.divisor.tobytes())


def products(model: ir.Model, *, left_out: Iterable[str] = LAST_LINEARS) -> list[MatMul]:
    """The products with a constant matrix, in the order of the graph, but for those of the modules left out.

    Every one is called by its module from now on, and its bias by that and ".bias", those left out too.
    """
    out = frozenset(left_out)
    matmuls = []
    runs: Counter[str] = Counter()
    for node in model.graph:
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        module = module_of(node)
        constant = node.inputs[1]
        if constant is None or constant.const_value is None or len(constant.const_value.shape) != 2:
            continue
        weight = constant.const_value.numpy()
        runs[module] += 1
        run = f"#{runs[module]}" if runs[module] > 1 else ""  # of a module that runs several times
        node.name = module + run if module else node.name
        answers = module in out or ends_exit(module)
        if node.op_type == "Gemm" and not answers:
            node, weight = _as_product(model, node, weight)
        bias = _bias_of(node, weight.shape[1])
        if bias is not None and module:
            bias[0].name = f"{module}{run}.bias"
        if not answers:
            matmuls.append(MatMul(node, module, weight, bias))
    return matmuls


def module_of(node: ir.Node) -> str:
    """The name of the torch module whose forward the node came from; empty where nothing tells."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return scopes[-2].removeprefix(WRAPPER) if len(scopes) > 1 else ""


def _as_product(model: ir.Model, node: ir.Node, weight: np.ndarray) -> tuple[ir.Node, np.ndarray]:
    """Write a Gemm as a MatMul and an Add."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise CompressError(f"the product {node.name} has factors that cannot be lowered; export to a float target instead.")
    weight = weight.T if attributes.get("transB", 0) else weight
    product = ir.node("MatMul", [node.inputs[0], constant(model, f"{node.name}.weight", weight)], name=node.name)
    product.metadata_props.update(node.metadata_props)
    nodes, result = [product], product.outputs[0]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        nodes.append(ir.node("Add", [result, node.inputs[2]]))
        result = nodes[-1].outputs[0]
    put_in_place(model, node, nodes, result)
    return product, weight


def _bias_of(node: ir.Node, width: int) -> tuple[ir.Node, ir.Value] | None:
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    add = uses[0].node
    other = add.inputs[1 - uses[0].idx]
    is_vector = other is not None and other.const_value is not None and tuple(other.const_value.shape) == (width,)
    return (add, other) if is_vector and other is not None else None


def constant(model: ir.Model, name: str, values: np.ndarray) -> ir.Value:
    """A new initializer."""
    while name in model.graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(values, name=name))
    model.graph.initializers[name] = value
    return value


def whole_weight(weight: np.ndarray, *, per_channel: bool, qmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from -highest to highest for a weight (in, out), and the scales, (out,)."""
    sizes = np.abs(weight).max(axis=0) if per_channel else np.full(weight.shape[1], np.abs(weight).max())
    scales = (np.maximum(sizes, np.float32(1e-12)) / np.float32(qmax)).astype(np.float32)
    return np.clip(np.rint(weight / scales), -qmax, qmax).astype(np.int8), scales


def lower_to_kernels(
    model: ir.Model,
    chosen: Iterable[MatMul],
    grids: Mapping[str, QuantParams] | None,
    *,
    per_channel: bool,
    qmax: int = EIGHT_BITS,
    unsigned: bool = True,
) -> int:
    """Write products as onnxruntime's own integer kernels, bias included.

    Args:
        model: Is changed.
        chosen: The products to write.
        grids: For each module its input's grid; None takes the input's range anew in each call (dynamic, always unsigned).
        per_channel: One weight scale per output column.
        qmax: The largest whole number of a weight: 127, or 63 for processors without VNNI.
        unsigned: Activations from 0 to 255 instead of -128 to 127.

    Returns:
        How many were written.
    """
    made: dict[Any, tuple[ir.Value, ...]] = {}
    written: dict[Any, tuple[ir.Value, ...]] = {}
    count = 0
    for product in chosen:
        grid = None if grids is None else grids[product.module]
        weight, scales, _ = _weight(model, product, grid, per_channel, qmax, written)
        values = product.node.inputs[0]
        assert values is not None
        key = (values.name, grid and grid.key())
        if key not in made:
            made[key] = _quantized(model, product.node, values, grid, unsigned)
        whole, scale, zero = made[key]
        inputs = [whole, weight, scale, scales, zero, None]
        last = product.node
        if product.bias is not None:
            last, vector = product.bias
            inputs.append(vector)
        kernel = ir.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
        kernel.metadata_props.update(product.node.metadata_props)
        put_in_place(model, last, [kernel], kernel.outputs[0])
        if last is not product.node:
            model.graph.remove(product.node, safe=True)
        count += 1
    model.opset_imports[MICROSOFT] = 1
    _factors_into_norms(model)
    sweep(model)
    return count


def lower_to_qdq(
    model: ir.Model,
    chosen: Iterable[MatMul],
    grids: Mapping[str, QuantParams],
    *,
    per_channel: bool,
    qmax: int = EIGHT_BITS,
    unsigned: bool,
) -> int:
    """Write products between QuantizeLinear and DequantizeLinear, in standard operators (QDQ).

    Args:
        model: Is changed.
        chosen: The products to write.
        grids: For each module its input's grid.
        per_channel: One weight scale per output column.
        qmax: The largest whole number of a weight.
        unsigned: Activations from 0 to 255 instead of -128 to 127.

    Returns:
        How many were written.
    """
    made: dict[Any, ir.Value] = {}
    written: dict[Any, tuple[ir.Value, ...]] = {}
    count = 0
    for product in chosen:
        grid = grids[product.module]
        values = product.node.inputs[0]
        assert values is not None
        key = (values.name, grid.key())
        if key not in made:
            whole, scale, zero = _quantized(model, product.node, values, grid, unsigned)
            back = ir.node("DequantizeLinear", [whole, scale, zero])
            model.graph.insert_before(product.node, back)
            made[key] = back.outputs[0]
        weight, scales, zeros = _weight(model, product, grid, per_channel, qmax, written)
        back = ir.node("DequantizeLinear", [weight, scales, zeros], attributes={"axis": 1})
        model.graph.insert_before(product.node, back)
        product.node.replace_input_with(0, made[key])
        product.node.replace_input_with(1, back.outputs[0])
        count += 1
    _factors_into_norms(model)
    sweep(model)
    return count


def _weight(
    model: ir.Model, product: MatMul, grid: QuantParams | None, per_channel: bool, qmax: int, written: dict[Any, Any]
) -> tuple[ir.Value, ...]:
    """The whole numbers of a weight, their scales and zeros; those of one that several products read are written once."""
    weight, divisor = product.weight, None if grid is None else grid.divisor
    key = (weight.shape, weight.tobytes(), None if divisor is None else divisor.tobytes())
    if key in written:
        known: tuple[ir.Value, ...] = written[key]
        return known
    if divisor is not None:
        weight = weight * divisor[:, None]
    whole, scales = whole_weight(weight, per_channel=per_channel, qmax=qmax)
    name = product.module or product.node.outputs[0].name
    written[key] = (
        constant(model, f"{name}.weight_int8", whole),
        constant(model, f"{name}.weight_scale", scales),
        constant(model, f"{name}.weight_zero", np.zeros(len(scales), dtype=np.int8)),
    )
    return written[key]


def _quantized(
    model: ir.Model, before: ir.Node, values: ir.Value, grid: QuantParams | None, unsigned: bool
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Whole numbers for a value, their scale and their zero."""
    if grid is None:
        dynamic = ir.node("DynamicQuantizeLinear", [values], num_outputs=3)
        model.graph.insert_before(before, dynamic)
        whole, scale, zero = dynamic.outputs
        return whole, scale, zero
    if grid.divisor is not None:
        factors = constant(model, f"{values.name}.factors", (1 / grid.divisor).astype(np.float32))
        smoothed = ir.node("Mul", [values, factors])
        model.graph.insert_before(before, smoothed)
        values = smoothed.outputs[0]
    scale = constant(model, f"{values.name}.scale", grid.scale)
    zero_point = np.uint8(grid.zero + SHIFT) if unsigned else np.int8(grid.zero)
    zero = constant(model, f"{values.name}.zero", np.array(zero_point))
    node = ir.node("QuantizeLinear", [values, scale, zero])
    model.graph.insert_before(before, node)
    return node.outputs[0], scale, zero


def _values_of(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _factors_into_norms(model: ir.Model) -> None:
    """Let a LayerNormalization whose answer is multiplied by constants, and read nowhere else, answer the products."""
    for node in list(model.graph):
        norm = node.inputs[0].producer() if node.op_type == "Mul" and node.inputs[0] is not None else None
        factors = _values_of(node.inputs[1]) if norm is not None else None
        if norm is None or factors is None or norm.op_type != "LayerNormalization" or len(norm.outputs[0].uses()) > 1:
            continue
        parameters = [_values_of(parameter) for parameter in norm.inputs[1:]]
        if any(values is None or values.shape != factors.shape for values in parameters):
            continue
        for place, values in enumerate(parameters, 1):
            norm.replace_input_with(place, constant(model, f"{node.outputs[0].name}.norm.{place}", values * factors))
        convenience.replace_all_uses_with(node.outputs[0], norm.outputs[0], replace_graph_outputs=True)
        model.graph.remove(node, safe=True)


def lower_tables(model: ir.Model, *, bits: int = 8, in_pairs: bool = False) -> int:
    """Store every embedding table in whole numbers of 8 or 4 bits, with a scale for each row; looking up gives floats.

    With 4 bits, a byte holds column j and column j + width/2 of a row.

    Args:
        model: Is changed.
        bits: 8 or 4.
        in_pairs: Let DequantizeLinear give the whole table, for runtimes that know integers in that form alone (8 bits).

    Returns:
        How many tables were written.
    """
    count = 0
    for node in list(model.graph):
        table = node.inputs[0] if node.op_type == "Gather" else None
        if table is None or table.const_value is None or len(table.const_value.shape) != 2:
            continue
        if table.const_value.dtype != FLOAT:
            continue
        write = _in_pairs if in_pairs else _eight_bits if bits == 8 else _four_bits
        nodes, result = write(model, str(table.name), table.const_value.numpy(), node.inputs[1])
        put_in_place(model, node, nodes, result)
        count += 1
    sweep(model)
    return count


def _rows(rows: np.ndarray, qmax: int) -> tuple[np.ndarray, np.ndarray]:
    scales = (np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.float32(1e-12)) / np.float32(qmax)).astype(np.float32)
    return np.clip(np.rint(rows / scales), -qmax, qmax).astype(np.int8), scales


def _eight_bits(model: ir.Model, name: str, rows: np.ndarray, ids: Any) -> tuple[list[ir.Node], ir.Value]:
    whole, scales = _rows(rows, EIGHT_BITS)
    looked = ir.node("Gather", [constant(model, f"{name}_int8", whole), ids])
    cast = ir.node("Cast", [looked.outputs[0]], attributes={"to": FLOAT})
    return _scaled(model, name, [looked, cast], cast.outputs[0], scales, ids)


def _in_pairs(model: ir.Model, name: str, rows: np.ndarray, ids: Any) -> tuple[list[ir.Node], ir.Value]:
    whole, scales = _rows(rows, EIGHT_BITS)
    table, scale = constant(model, f"{name}_int8", whole), constant(model, f"{name}_scale", scales[:, 0])
    zeros = constant(model, f"{name}_zero", np.zeros(len(rows), dtype=np.int8))
    back = ir.node("DequantizeLinear", [table, scale, zeros], attributes={"axis": 0})
    looked = ir.node("Gather", [back.outputs[0], ids])
    return [back, looked], looked.outputs[0]


def _four_bits(model: ir.Model, name: str, rows: np.ndarray, ids: Any) -> tuple[list[ir.Node], ir.Value]:
    if rows.shape[1] % 2:
        raise CompressError(f"the table {name} has {rows.shape[1]} columns; an even number is needed for 4 bits: use 8.")
    whole, scales = _rows(rows, 7)
    shifted = (whole + 8).astype(np.uint8)
    half = rows.shape[1] // 2
    packed = shifted[:, :half] | (shifted[:, half:] << 4)
    looked = ir.node("Gather", [constant(model, f"{name}_int4", packed), ids])
    part, sixteen, middle = (
        constant(model, f"{name}_{said}", np.array(number, dtype=np.float32))
        for said, number in (("part", 1 / 16), ("sixteen", 16), ("middle", 8))
    )
    # in floats, which hold every byte and its sixteenth, bfloat16 too: OpenVINO divides and shifts whole bytes with rounding
    cast = ir.node("Cast", [looked.outputs[0]], attributes={"to": FLOAT})
    sixteenth = ir.node("Mul", [cast.outputs[0], part])
    high = ir.node("Floor", [sixteenth.outputs[0]])
    back = ir.node("Mul", [high.outputs[0], sixteen])
    low = ir.node("Sub", [cast.outputs[0], back.outputs[0]])
    both = ir.node("Concat", [low.outputs[0], high.outputs[0]], attributes={"axis": -1})
    centred = ir.node("Sub", [both.outputs[0], middle])
    nodes = [looked, cast, sixteenth, high, back, low, both, centred]
    return _scaled(model, name, nodes, centred.outputs[0], scales, ids)


def _scaled(
    model: ir.Model, name: str, nodes: list[ir.Node], whole: ir.Value, scales: np.ndarray, ids: Any
) -> tuple[list[ir.Node], ir.Value]:
    factors = ir.node("Gather", [constant(model, f"{name}_scale", scales), ids])
    product = ir.node("Mul", [whole, factors.outputs[0]])
    return [*nodes, factors, product], product.outputs[0]


def put_in_place(model: ir.Model, node: ir.Node, nodes: list[ir.Node], result: ir.Value) -> None:
    """Put nodes in the place of one, whose output their `result` takes over, name included."""
    model.graph.insert_before(node, nodes)
    old = node.outputs[0]
    result.type, result.shape = result.type or old.type, result.shape or old.shape
    convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    name = old.name
    model.graph.remove(node, safe=True)
    result.name = name
