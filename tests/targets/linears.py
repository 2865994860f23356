"""Graphs of a few matrix products as the exporter writes them, and what whole numbers make of them, worked out in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

SCOPES = "pkg.torch.onnx.name_scopes"
INPUT = "x"
BATCH, LENGTH = 2, 5


@dataclass(frozen=True)
class Linear:
    """A product that reads `x` and gives the output that has its name.

    Args:
        weight: (in, out).
        bias: (out,), or None.
        form: "MatMul", with an Add behind it for the bias; "Gemm", whose weight is (in, out); "Gemm transB", (out, in).
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    form: str = "MatMul"


def random_linear(seed: int, width: int = 6, out: int = 4, *, bias: bool = True, form: str = "MatMul") -> Linear:
    """Weights of about 1 whose columns differ much in size, so that a scale for each of them shows."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(width, out)) * (4.0 ** np.arange(out) / 8)
    return Linear(weight.astype(np.float32), random.normal(size=out).astype(np.float32) if bias else None, form)


def random_inputs(seed: int = 0, width: int = 6, *, size: float = 1.0, rank: int = 3) -> np.ndarray:
    """Values around `size` with a few far outside."""
    shape = (BATCH, LENGTH, width) if rank == 3 else (BATCH, width)
    values = np.random.default_rng(seed).normal(size=shape, scale=size)
    values.flat[:2] = [5 * size, -4 * size]
    return values.astype(np.float32)


def write_linears(path: Path, linears: Mapping[str, Linear], *, constants: Sequence[onnx.TensorProto] = ()) -> Path:
    """Write the products side by side.

    Args:
        path: Of the file.
        linears: By the name of the torch module that they come from; the output is called as the module.
        constants: Initializers that nothing reads.
    """
    rank = 2 if any(linear.form != "MatMul" for linear in linears.values()) else 3
    nodes: list[onnx.NodeProto] = []
    tensors = list(constants)
    for name, linear in linears.items():
        tensors.append(numpy_helper.from_array(linear.weight, f"model.{name}.weight"))
        inputs = [INPUT, f"model.{name}.weight"]
        if linear.bias is not None:
            tensors.append(numpy_helper.from_array(linear.bias, f"model.{name}.bias"))
        if linear.form == "MatMul":
            nodes.append(_node(name, "MatMul", inputs, f"{name}.product" if linear.bias is not None else name))
            if linear.bias is not None:
                nodes.append(_node(name, "Add", [f"{name}.product", f"model.{name}.bias"], name))
        else:
            more = [f"model.{name}.bias"] if linear.bias is not None else []
            nodes.append(_node(name, "Gemm", [*inputs, *more], name, transB=int(linear.form == "Gemm transB")))
    width = next(iter(linears.values()))
    columns = width.weight.shape[1 if width.form == "Gemm transB" else 0]
    sizes = ["batch", "length", None][-rank:]
    given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [*sizes[:-1], columns])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in linears]
    save_graph(path, nodes, [given], outputs, tensors)
    return path


def save_graph(path: Path, nodes: Any, given: Any, outputs: Any, tensors: Any) -> None:
    """Write a checked model in the opset of the exporter."""
    graph = helper.make_graph(nodes, "linears", given, outputs, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _node(module: str, kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    parts = module.split(".")
    scopes = ["", "model", *(f"model.{'.'.join(parts[: end + 1])}" for end in range(len(parts))), "linear"]
    node = helper.make_node(kind, inputs, [output], name=f"node_{kind}_{output}", **attributes)
    node.metadata_props.add(key=SCOPES, value=str(scopes))
    return node


def answers(model: ir.Model | Path, values: np.ndarray, *, as_written: bool = False) -> dict[str, np.ndarray]:
    """What onnxruntime makes of the inputs, by output.

    Args:
        model: A graph or a file.
        values: The input.
        as_written: Without onnxruntime's own fusions.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.read_bytes() if isinstance(model, Path) else ir.to_proto(model).SerializeToString()
    runner = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in runner.get_outputs()]
    return dict(zip(names, runner.run(names, {runner.get_inputs()[0].name: values}), strict=True))


def operators(model: ir.Model) -> list[str]:
    """The operators of a graph in their order."""
    return [node.op_type for node in model.graph]


def whole_columns(weight: np.ndarray, qmax: int = 127, *, per_channel: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A weight (in, out) in whole numbers, and its scale, (1, out)."""
    size = np.abs(weight).max(axis=0, keepdims=True)
    scale = (size if per_channel else np.full_like(size, size.max())) / np.float32(qmax)
    return np.rint(weight / scale).astype(np.int32), scale


def static_product(
    values: np.ndarray,
    linear: Linear,
    scale: float,
    zero: int,
    divisor: np.ndarray | None = None,
    *,
    qmax: int = 127,
    per_channel: bool = True,
) -> np.ndarray:
    """The sums of whole numbers from -128 to 127, in int32, then scaled."""
    factors = np.ones(len(linear.weight), dtype=np.float32) if divisor is None else divisor
    whole = np.clip(np.rint(values / factors / np.float32(scale)) + zero, -128, 127).astype(np.int32)
    weight, scales = whole_columns(linear.weight * factors[:, None], qmax, per_channel=per_channel)
    return (whole - zero) @ weight * np.float32(scale) * scales + (0 if linear.bias is None else linear.bias)


def dynamic_product(values: np.ndarray, linear: Linear, *, qmax: int = 127, per_channel: bool = True) -> np.ndarray:
    """The same with the range of the values themselves, by the formula of ONNX's DynamicQuantizeLinear."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = np.float32((high - low) / 255)
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    whole = np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.int32)
    weight, scales = whole_columns(linear.weight, qmax, per_channel=per_channel)
    return (whole - zero) @ weight * scale * scales + (0 if linear.bias is None else linear.bias)
