"""Graphs as onnxruntime's kernels on CPUs compute them fastest."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass
from onnxscript.rewriter.pattern import RewriteRule

from compress.targets.onnx.lowering import MICROSOFT, put_in_place


def for_onnxruntime(model: ir.Model) -> None:
    """Change a graph that holds onnxruntime's own operators anyway."""
    sums_before_norms(model)
    rotations_as_nodes(model)


def sums_before_norms(model: ir.Model) -> int:
    """Let the residual sums be Sum instead of Add: onnxruntime would fuse Add and LayerNormalization into
    SkipLayerNormalization, whose kernel on CPUs is several times slower than the two it replaces.

    Returns:
        How many were changed.
    """
    count = 0
    for node in list(model.graph):
        add = node.inputs[0].producer() if node.op_type == "LayerNormalization" and node.inputs[0] is not None else None
        if add is not None and add.op_type == "Add":
            total = ir.node("Sum", list(add.inputs))
            put_in_place(model, add, [total], total.outputs[0])
            count += 1
    return count


def rotations_as_nodes(model: ir.Model) -> int:
    """Write each turning of queries or keys by their positions as RotaryEmbedding, one kernel in the place of nine.

    Source: Su et al. 2021, RoFormer, arXiv 2104.09864, equation 34; onnxruntime,
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.RotaryEmbedding.

    Args:
        model: Is changed. Positions are those of one text, which all of a batch share.

    Returns:
        How many were written.
    """
    rule = RewriteRule(_turned, _turned_by_kernel, _is_by_halves, remove_nodes=False)
    count: int = rule.apply_to_model(model)
    if count:
        RemoveUnusedNodesPass()(model)
        CommonSubexpressionEliminationPass()(model)
    return count


def _turned(op: Any, states: Any, angles: Any, start: Any, half: Any, stop: Any, axis: Any, step: Any, heads: Any) -> Any:
    """States, (batch, heads, length, size), turned by angles, (1, length, size / 2)."""
    twice = op.Concat(angles, angles, axis=-1)
    cosines, sines = op.Unsqueeze(op.Cos(twice), heads), op.Unsqueeze(op.Sin(twice), heads)
    first, second = op.Slice(states, start, half, axis, step), op.Slice(states, half, stop, axis, step)
    return op.Add(op.Mul(states, cosines), op.Mul(op.Concat(op.Neg(second), first, axis=-1), sines))


def _turned_by_kernel(op: Any, states: Any, angles: Any, **_: Any) -> Any:
    first = op.Constant(value_ints=[0])
    rows = op.Squeeze(angles, first)
    return op.RotaryEmbedding(states, first, op.Cos(rows), op.Sin(rows), _domain=MICROSOFT)


def _is_by_halves(context: Any, states: ir.Value, angles: ir.Value, start: ir.Value, half: ir.Value, **_: Any) -> bool:
    values = [value.const_value.numpy().tolist() for value in (start, half) if value.const_value is not None]
    return angles.shape is not None and angles.shape[0] == 1 and values == [[0], [angles.shape[2]]]
