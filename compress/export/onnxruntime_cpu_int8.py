"""Dynamic int8 ONNX for onnxruntime on a CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import NoEffect
from compress.export.graph import FILE, note_in_file, write_graph
from compress.export.onnxruntime_cpu import TOLERANCE
from compress.export.parity import Reference, Stage
from compress.log import libraries_silenced
from compress.processor import has_vnni

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task


@within_range
def onnxruntime_cpu_int8(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    per_channel: bool = True,
    weight_bits: Literal["auto", 7, 8] = "auto",
    max_flips: Annotated[float, Field(ge=0, le=1)] = 0.1,
    max_relative_error: Annotated[float, Field(gt=0, le=10)] = 0.5,
) -> list[Stage]:
    """Write a model.onnx with int8 weights and activations that are quantized anew in each call.

    Matrix products with constant weights run on integers (weights signed, activations unsigned), the embedding tables are
    stored in eight bits; attention's inner products, softmax, LayerNorm and the classifier stay float32.

    Source: onnxruntime, "Quantize ONNX models", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    (dynamic quantization; U8S8 and `reduce_range`).

    Args:
        model: What to export.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and each stage are compared.
        per_channel: One scale per output column instead of one per weight.
        weight_bits: On x86 without VNNI, products of 8-bit weights overflow 16 bits and answers go wrong, so "auto" takes 7
            there and 8 elsewhere. A file with 7 is right on every CPU.
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        NoEffect: No operator of the running graph multiplies integers.
    """
    reference = Reference(model, task)
    bits = (8 if has_vnni() else 7) if weight_bits == "auto" else weight_bits
    with tempfile.TemporaryDirectory(dir=folder) as rooms:
        raw, tables = Path(rooms) / "raw.onnx", Path(rooms) / "tables.onnx"
        write_graph(model, raw)
        stages = [reference.judge("export", raw, max_relative_error=TOLERANCE, max_flips=0.0)]
        if not stages[0].accepted:
            return stages
        with libraries_silenced():
            quantize_dynamic(raw, tables, op_types_to_quantize=["Gather"], weight_type=QuantType.QInt8)
            quantize_dynamic(
                tables, folder / FILE, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8,
                per_channel=per_channel, reduce_range=bits == 7, nodes_to_exclude=_classifier(tables, model.config.num_labels),
            )  # fmt: skip
    note_in_file(folder / FILE, {"weight_bits": str(bits), "safe_without_vnni": str(bits == 7)})
    stages.append(
        reference.judge("int8", folder / FILE, max_relative_error=max_relative_error, max_flips=max_flips)
    )
    if stages[-1].integer_ops == 0:
        raise NoEffect("onnxruntime-cpu-int8: the running graph has no integer operator; export to onnxruntime-cpu instead.")
    return stages


def _classifier(path: Path, labels: int) -> list[str]:
    """Names of the products whose weight has one column (or row) per label: too small to be worth any error."""
    graph = onnx.load(path).graph
    small = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2 and labels in tuple(tensor.dims)}
    return [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and set(node.input) & small]
