"""Write an LSTM as onnxruntime's integer kernel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from compress.errors import CompressError
from compress.targets.onnx.graph import sweep
from compress.targets.onnx.lowering import EIGHT_BITS, MICROSOFT, constant


def lower_lstms(model: ir.Model, *, qmax: int = EIGHT_BITS) -> int:
    """Let every LSTM multiply whole numbers, with one scale for each column of its weights; ranges of what it reads and of its
    state are taken anew at each step.

    Source: onnxruntime, DynamicQuantizeLSTM,
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DynamicQuantizeLSTM

    Args:
        model: Is changed.
        qmax: The largest whole number of a weight: 127, or 63 for processors without VNNI.

    Returns:
        How many were written.
    """
    lstms = [node for node in model.graph if node.op_type == "LSTM"]
    for node in lstms:
        inputs = [*node.inputs, *[None] * (8 - len(node.inputs))]  # X, W, R, B, lengths, first state, first cell, peepholes
        scales: list[ir.Value] = []
        for place in (1, 2):
            value = inputs[place]
            if value is None or value.const_value is None:
                raise CompressError(f"the weights of {node.name} are computed in the graph; export to a float target instead.")
            whole, scale = _whole(value.const_value.numpy(), qmax)
            inputs[place] = constant(model, f"{value.name}_int8", whole)
            zeros = np.zeros(scale.shape, dtype=np.int8)
            scales += [constant(model, f"{value.name}_scale", scale), constant(model, f"{value.name}_zero", zeros)]
        kernel = ir.node(
            "DynamicQuantizeLSTM",
            [*inputs, *scales],
            attributes=dict(node.attributes),
            domain=MICROSOFT,
            num_outputs=len(node.outputs),
        )
        kernel.metadata_props.update(node.metadata_props)
        kernel.name = node.name
        model.graph.insert_before(node, kernel)
        for old, new in zip(node.outputs, kernel.outputs, strict=True):
            new.type, new.shape = old.type, old.shape
            convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        names = [old.name for old in node.outputs]
        model.graph.remove(node, safe=True)
        for name, new in zip(names, kernel.outputs, strict=True):
            new.name = name
    if lstms:
        model.opset_imports[MICROSOFT] = 1
    sweep(model)
    return len(lstms)


def _whole(weight: np.ndarray, qmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers for (directions, columns, in), turned as the kernel wants them, and a scale for each column."""
    scales = np.maximum(np.abs(weight).max(axis=2), np.float32(1e-12)) / np.float32(qmax)
    whole = np.clip(np.rint(weight / scales[:, :, None]), -qmax, qmax).astype(np.int8)
    return np.ascontiguousarray(whole.transpose(0, 2, 1)), scales.astype(np.float32)
