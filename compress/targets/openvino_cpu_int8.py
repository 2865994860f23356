"""int8 ONNX for OpenVINO on a CPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.processor import int8_processors
from compress.quantization.calibration import Calibrated, Smooth
from compress.quantization.histogram import Calibration, Percentile
from compress.runtimes.table import load_runtime
from compress.targets.onnx.integers import (
    QMAX,
    EmbeddingBits,
    MaxDrop,
    MaxFlips,
    MaxRelativeError,
    QuantizedFormat,
    WeightBits,
    write_static,
)
from compress.targets.onnx.lowering import lower_to_qdq
from compress.targets.onnx.parity import ParityCheck
from compress.targets.onnx.saturation import safe_bits
from compress.targets.onnx.segment import Memory, in_segments
from compress.targets.onnx.short_vectors import ShortVectors, write_short_vectors
from compress.targets.openvino_cpu import Precision, in_openvino

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TARGET = "openvino-cpu-int8"
RUNTIME = "openvino"
LEAVES = True


@within_range
def openvino_cpu_int8(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    precision: Precision = "auto",
    weight_bits: WeightBits = "auto",
    embedding_bits: EmbeddingBits = 8,
    calibration: Calibration = "mse",
    percentile: Percentile = 99.99,
    symmetric: bool = False,
    smooth: Smooth = 0.5,
    correct_bias: bool = False,
    max_drop: MaxDrop = None,
    max_flips: MaxFlips = 0.1,
    max_relative_error: MaxRelativeError = 0.5,
    memory: Memory = False,
    vectors: ShortVectors = None,
) -> list[ParityCheck]:
    """Write a model.onnx whose products stand between QuantizeLinear and DequantizeLinear, which OpenVINO runs on integers.

    Weights are signed, activations unsigned: OpenVINO's answers to signed ones were found to be far off. Standard ONNX
    operators only. Attention's inner products, softmax, LayerNorm, GELU and the classifier stay float, in `precision`.

    Source: https://docs.openvino.ai, "Low precision transformations"; Wu et al. 2020, arXiv 2004.09602 (calibration); Xiao et
    al. 2023, arXiv 2211.10438 (smooth).

    Args:
        model: What to export; one trained by `quantize_aware` brings its ranges.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which ranges are found and each stage is compared.
        precision: Of what stays float; kept in bert_compress.json.
        weight_bits: 7 is right on every processor, 8 on those with VNNI or AMX and on ARM; "auto" tries which is needed here.
        embedding_bits: Of the embeddings.
        calibration: How the range of a float model's activation is chosen.
        percentile: For calibration "percentile".
        symmetric: Ranges as wide below 0 as above.
        smooth: alpha of SmoothQuant.
        correct_bias: Let biases take up the mean error of their products; a few outliers can make that worse than it was.
        max_drop: Keeps the fewest products float that this loss on the selection part allows.
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.
        memory: Write segment.onnx too, as onnxruntime-cpu-int8 does.
        vectors: Of a sentence embedder, what the file gives besides, see `compress.targets.onnx.short_vectors`.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        InputError: OpenVINO is not installed, or there is no memory to hand on.
        NoEffect: No operator of the compiled graph multiplies integers.
    """
    load_runtime(RUNTIME).need()
    bits = safe_bits() if weight_bits == "auto" else weight_bits
    facts = {"weight_bits": str(bits), "activations": "static", **int8_processors(bits, unsigned=True)}
    lower, opened = partial(lower_to_qdq, unsigned=True), partial(in_openvino, precision=precision)
    reader = partial(in_segments, runtime=RUNTIME, precision=precision)
    form = QuantizedFormat(TARGET, lower, opened, facts, QMAX[bits], embedding_bits, in_segments=reader)
    how = Calibrated(calibration, percentile, symmetric, smooth, correct_bias)
    stages = write_static(
        model,
        folder,
        task=task,
        form=form,
        how=how,
        max_drop=max_drop,
        max_flips=max_flips,
        max_relative_error=max_relative_error,
        memory=memory,
    )
    write_short_vectors(vectors, model, folder, task)
    return stages
