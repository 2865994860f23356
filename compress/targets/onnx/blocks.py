"""Weights in blocks of four bits with a scale each, as onnxruntime's MatMulNBits reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.targets.onnx.graph import sweep
from compress.targets.onnx.lowering import MICROSOFT, MatMul, constant, put_in_place

BITS = 4
MIDDLE = 8
"""The whole number that stands for 0, of 0 to 15."""
SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Of the widest scale: a narrower one cuts a block's largest weight and rounds the others better."""
SMALLEST = np.float32(1e-12)


def lower_to_blocks(model: ir.Model, chosen: Iterable[MatMul], *, block: int, level: int) -> int:
    """Write products as MatMulNBits.

    Args:
        model: Is changed.
        chosen: The products to write.
        block: Weights of an output that share a scale: 16 or a larger power of 2.
        level: What MatMulNBits computes in: 1 is float32, 4 int8.

    Returns:
        How many were written.
    """
    written: dict[Any, tuple[ir.Value, ir.Value]] = {}
    count = 0
    for product in chosen:
        key = (product.weight.shape, product.weight.tobytes())
        if key not in written:
            packed, scales = in_blocks(product.weight, block)
            name = product.module or product.node.outputs[0].name
            written[key] = (constant(model, f"{name}.weight_q4", packed), constant(model, f"{name}.weight_scale", scales))
        inputs, outputs = product.weight.shape
        sizes = {"K": inputs, "N": outputs, "bits": BITS, "block_size": block, "accuracy_level": level}
        kernel = ir.node("MatMulNBits", [product.node.inputs[0], *written[key]], attributes=sizes, domain=MICROSOFT)
        kernel.name = product.node.name
        kernel.metadata_props.update(product.node.metadata_props)
        put_in_place(model, product.node, [kernel], kernel.outputs[0])
        count += 1
    model.opset_imports[MICROSOFT] = 1
    sweep(model)
    return count


def in_blocks(weight: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Pack a weight.

    Args:
        weight: (in, out), float32.
        block: Rows that share a scale in each column; the last block may be filled up.

    Returns:
        The whole numbers, two in a byte, the earlier one in its lower half, (out, blocks, block / 2); and the scales,
        (out * blocks,).
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // block)
    rows = np.zeros((outputs, blocks * block), dtype=np.float32)
    rows[:, :inputs] = weight.T
    rows = rows.reshape(outputs, blocks, block)
    whole, scales = _rounded(rows)
    packed = (whole[..., ::2] | (whole[..., 1::2] << BITS)).astype(np.uint8)
    return packed, scales.reshape(-1)


def _rounded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from 0 to 15 for blocks, (..., block), and the scale of each that gives the least square error, (...).

    The largest weight by size falls on -8, which has no positive counterpart, so that its sign is the scale's.
    """
    largest = np.take_along_axis(rows, np.abs(rows).argmax(-1, keepdims=True), -1)
    widest = np.where(np.abs(largest) < SMALLEST, SMALLEST, largest / -MIDDLE).astype(np.float32)
    best = np.full(widest.shape, np.inf, dtype=np.float32)
    scale, whole = widest, np.full(rows.shape, MIDDLE, dtype=np.uint8)
    for factor in SHRUNK:
        tried = widest * np.float32(factor)
        numbers = np.clip(np.rint(rows / tried), -MIDDLE, MIDDLE - 1)
        error = np.square(numbers * tried - rows).sum(-1, keepdims=True)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, tried, scale)
        whole = np.where(better, numbers + MIDDLE, whole).astype(np.uint8)
    return whole, scale[..., 0]
