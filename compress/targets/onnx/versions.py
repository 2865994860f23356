"""Let a file ask for no newer a runtime than its operators need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx.defs import OpSchema, SchemaError, get_schema

from compress.targets.onnx.exits import nest_exits

OLDEST_OPSET = 13
"""Before it, operators that are written alike mean something else (Softmax), or take as an attribute what is an input here."""
OLDEST_IR = 8
"""Of 2021; the format has known functions and free initializers since then."""
NEWER_TYPES = {
    9: (ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ),
    10: (ir.DataType.INT4, ir.DataType.UINT4),
    11: (ir.DataType.FLOAT4E2M1,),
}
"""Version of the format -> types of numbers that came with it."""
WITHOUT_EFFECT: dict[tuple[str, str], Any] = {
    ("Cast", "saturate"): 1,
    ("QuantizeLinear", "saturate"): 1,
    ("Reshape", "allowzero"): 0,
    ("Shape", "start"): 0,
    ("Shape", "end"): None,
    ("LSTM", "layout"): 0,
    ("Split", "num_outputs"): None,
    ("ScatterND", "reduction"): "none",
    ("ScatterElements", "reduction"): "none",
}
"""Attributes that came later, with the value that does what the operator did before there was one. What `saturate` tells is of
eight-bit floats alone."""


def save_for_old_runtimes(model: ir.Model, path: Path) -> None:
    """Save a finished model, its exits nested, with the lowest opset and version of the format in which it means the same, and
    without what older versions of the format have no place for: notes on nodes."""
    nest_exits(model)
    model.opset_imports[""] = lowest_opset(model)
    model.ir_version = lowest_ir_version(model)
    if model.ir_version < 10:
        for node in model.graph.all_nodes():
            node.metadata_props.clear()
    for name in unused_domains(model):
        del model.opset_imports[name]
    ir.save(model, path)


def lower_versions(path: Path) -> None:
    """Do the same with a file."""
    save_for_old_runtimes(ir.load(path), path)


def lowest_ir_version(model: ir.Model) -> int:
    """The oldest version of the format that knows the model's types of numbers."""
    types = {value.dtype for value in _values(model) if value.dtype is not None}
    return max([OLDEST_IR, *(version for version, newer in NEWER_TYPES.items() if types.intersection(newer))])


def lowest_opset(model: ir.Model) -> int:
    """The oldest opset in which every node means what it means in the model's."""
    opset = model.opset_imports[""]
    nodes = [node for node in model.graph.all_nodes() if node.domain == ""]
    while opset > OLDEST_OPSET and all(_means_the_same(node, model.opset_imports[""], opset - 1) for node in nodes):
        opset -= 1
    return opset


def unused_domains(model: ir.Model) -> list[str]:
    """Domains of operators that no node is of."""
    used = {"", *(node.domain for node in model.graph.all_nodes())}
    return [name for name in model.opset_imports if name not in used]


def _means_the_same(node: ir.Node, now: int, older: int) -> bool:
    try:
        new, old = get_schema(node.op_type, now, ""), get_schema(node.op_type, older, "")
    except SchemaError:
        return False
    if new.since_version == old.since_version:
        return True
    return _same_attributes(node, new, old) and _same_ends(node, old)


def _same_attributes(node: ir.Node, new: OpSchema, old: OpSchema) -> bool:
    for name, attribute in node.attributes.items():
        if name not in old.attributes:
            neutral = (node.op_type, name) in WITHOUT_EFFECT and attribute.value == WITHOUT_EFFECT[node.op_type, name]
            if not neutral:
                return False
    left_out = (new.attributes.keys() | old.attributes.keys()) - node.attributes.keys()
    for name in left_out:
        if name not in old.attributes:
            if (node.op_type, name) not in WITHOUT_EFFECT:
                return False
        elif name not in new.attributes or _default(new, name) != _default(old, name):
            return False
    return True


def _default(schema: OpSchema, name: str) -> bytes:
    value: bytes = schema.attributes[name].default_value.SerializeToString()
    return value


def _same_ends(node: ir.Node, old: OpSchema) -> bool:
    """Whether the older operator takes as many inputs of these types, and gives as many outputs."""
    if not (old.min_input <= len(node.inputs) <= old.max_input and old.min_output <= len(node.outputs) <= old.max_output):
        return False
    for formals, values in ((old.inputs, node.inputs), (old.outputs, node.outputs)):
        for index, value in enumerate(values):
            if value is not None and value.dtype is not None:
                formal = formals[min(index, len(formals) - 1)]
                if f"tensor({value.dtype.name.lower()})" not in formal.types:
                    return False
    return True


def _values(model: ir.Model) -> Iterable[ir.Value]:
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs


def versions_of(path: Path) -> tuple[int, int]:
    """The version of a file's format, and its opset."""
    proto = onnx.load(path, load_external_data=False)
    return proto.ir_version, next(opset.version for opset in proto.opset_import if opset.domain == "")
