"""int8 ONNX for onnxruntime on a CPU."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.facts import SEGMENT_STAGE
from compress.models.families import known_family
from compress.models.families.family import EncoderFree
from compress.models.quantizers import quantized_linears, quantizers_off
from compress.processor import int8_processors, is_x86
from compress.quantization.calibration import Calibrated, Smooth
from compress.quantization.histogram import Calibration, Percentile
from compress.runtimes.graph_files import file_in, graph_files
from compress.runtimes.segment_reader import SEGMENT_FILE
from compress.targets.onnx.graph import FILE, in_onnxruntime, write_graph
from compress.targets.onnx.integers import (
    QMAX,
    EmbeddingBits,
    MaxDrop,
    MaxFlips,
    MaxRelativeError,
    QuantizedFormat,
    WeightBits,
    refuse_no_effect,
    write_static,
)
from compress.targets.onnx.kernels import for_onnxruntime
from compress.targets.onnx.lowering import lower_tables, lower_to_kernels, products
from compress.targets.onnx.lstm import lower_lstms
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.ranges import is_static
from compress.targets.onnx.saturation import safe_bits
from compress.targets.onnx.segment import Memory, in_segments, write_segment_graph
from compress.targets.onnx.several_tasks import Adapters, write_several_tasks
from compress.targets.onnx.short_vectors import ShortVectors, write_short_vectors
from compress.targets.onnx.versions import save_for_old_runtimes
from compress.targets.onnxruntime_cpu import TOLERANCE

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TARGET = "onnxruntime-cpu-int8"
RUNTIME = "onnx"
WRITES = LEAVES = True


@within_range
def onnxruntime_cpu_int8(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    activations: Literal["auto", "dynamic", "static"] = "auto",
    per_channel: bool = True,
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
    adapters: Adapters = None,
) -> list[ParityCheck]:
    """Write a model.onnx whose products with constant weights run on integers in onnxruntime, embedding tables in eight bits.

    Weights are signed; activations are unsigned on x86, signed elsewhere, and have ranges that are taken anew in each call
    (dynamic) or fixed (static). Attention's inner products, softmax, LayerNorm, GELU and the classifier stay float32.

    Source: onnxruntime, "Quantize ONNX models", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    (U8S8, `reduce_range`); Wu et al. 2020, arXiv 2004.09602 (calibration); Xiao et al. 2023, arXiv 2211.10438 (smooth).
    Differs: written with onnxruntime's own integer kernels, biases included, and not by its quantizer; residual sums are kept
    apart from LayerNorm, since the fused kernel is the slower one on CPUs.

    Args:
        model: What to export; one trained by `quantize_aware` brings its ranges.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which ranges are found and each stage is compared.
        activations: "dynamic" ranges see the whole batch, so an answer changes a little with its neighbours; with "static"
            ones it does not. "auto" is static for a model that brings ranges or with `max_drop`, else dynamic, which needs
            no calibration; the options of static ranges are refused then.
        per_channel: One scale per output column instead of one per weight; a model that brings ranges decides itself.
        weight_bits: On x86 without VNNI, products of 8-bit weights overflow 16 bits and answers go wrong, so "auto" takes 7
            where a trial overflows, and 8 elsewhere. A file with 7 is right on every CPU.
        embedding_bits: Of the embeddings; 4 makes a small model's file a quarter smaller and costs accuracy.
        calibration: How a static range is chosen.
        percentile: For calibration "percentile".
        symmetric: Static ranges as wide below 0 as above.
        smooth: alpha of SmoothQuant for static ranges.
        correct_bias: Let biases take up the mean error of static products; a few outliers can make that worse than it was.
        max_drop: Keeps the fewest products float that this loss on the selection part allows (static).
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.
        memory: Write segment.onnx too, see `targets.onnx.segment`; for a model that reads segments. What it remembers is
            float; how its answers move with the number of segments stands in bert_compress.json.
        vectors: Of a sentence embedder, what the file gives besides, see `compress.targets.onnx.short_vectors`.
        adapters: Of further tasks that the file answers, see `compress.targets.onnx.several_tasks`; with dynamic activations.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        InputError: There is no memory to hand on.
        NoEffect: No operator of the running graph multiplies integers.
    """
    bits = safe_bits() if weight_bits == "auto" else weight_bits
    fixed = is_static(activations, max_drop, brings_ranges=bool(quantized_linears(model)))
    if adapters:
        write = partial(
            onnxruntime_cpu_int8,
            activations=activations,
            per_channel=per_channel,
            weight_bits=weight_bits,
            embedding_bits=embedding_bits,
            max_flips=max_flips,
            max_relative_error=max_relative_error,
        )
        return write_several_tasks(write, model, folder, adapters, task=task)
    unsigned = not fixed or is_x86()
    kind = "static" if fixed else "dynamic"
    facts = {"weight_bits": str(bits), "activations": kind, **int8_processors(bits, unsigned=unsigned)}
    family = known_family(model)
    integer_products = not isinstance(family, EncoderFree) or family.integer_products
    if not integer_products:
        facts = {"activations": "float", "tables": f"{embedding_bits} bits"}
    if fixed:
        lower = partial(lower_to_kernels, unsigned=unsigned)
        form = QuantizedFormat(TARGET, lower, in_onnxruntime, facts, QMAX[bits], embedding_bits, finish=for_onnxruntime)
        how = Calibrated(calibration, percentile, symmetric, smooth, correct_bias, per_channel)
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
    lower_here = partial(
        _lower,
        bits=bits,
        embedding_bits=embedding_bits,
        per_channel=per_channel,
        integer_products=integer_products,
        facts=facts,
    )
    limits = {"max_relative_error": max_relative_error, "max_flips": max_flips}
    with tempfile.TemporaryDirectory(dir=folder) as room, quantizers_off(model):
        raw, reference = Path(room) / FILE, Reference(model, task)
        write_graph(model, raw)
        file = file_in(raw.parent)
        stages = [reference.judge("export", in_onnxruntime(file), max_relative_error=TOLERANCE, max_flips=0.0)]
        if not stages[0].accepted:
            return stages
        for path in graph_files(file):
            lower_here(path, folder / path.name)
        stages.append(reference.judge("int8", in_onnxruntime(folder / file.name), **limits))
        if stages[-1].accepted and memory:
            write_segment_graph(model, raw)
            lower_here(raw, folder / SEGMENT_FILE)
            stages.append(reference.judge(SEGMENT_STAGE, in_segments(model, folder), **limits))
    for stage in stages[1:]:
        refuse_no_effect(TARGET, stage, integer_products=integer_products)
    write_short_vectors(vectors, model, folder, task)
    return stages


def _lower(
    raw: Path, path: Path, *, bits: int, embedding_bits: int, per_channel: bool, integer_products: bool, facts: dict[str, str]
) -> None:
    """Write the integers of a file whose ranges are taken anew in each call."""
    graph = ir.load(raw)
    if integer_products:
        lower_to_kernels(graph, products(graph), None, per_channel=per_channel, qmax=QMAX[bits])
        lower_lstms(graph, qmax=QMAX[bits])
    lower_tables(graph, bits=embedding_bits)
    for_onnxruntime(graph)
    graph.metadata_props.update(facts)
    save_for_old_runtimes(graph, path)
