"""One quantized model, lowered for one runtime, with proof at every stage."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import onnx_ir as ir
from pydantic import Field
from transformers import PreTrainedModel

from compress.errors import InputError, NoEffect
from compress.facts import SEGMENT_STAGE
from compress.models.quantizers import quantized_linears, quantizers_off, set_qmax
from compress.models.surgery import copy_of
from compress.quantization.calibration import Calibrated, calibrated, reached
from compress.runtimes.graph_files import file_in, graph_files
from compress.runtimes.segment_reader import SEGMENT_FILE
from compress.targets.onnx.graph import FILE, Session, in_onnxruntime, write_graph
from compress.targets.onnx.lowering import QuantParams, lower_tables, products
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.segment import in_segments, write_segment_graph
from compress.targets.onnx.sensitivity import keep_in_float
from compress.targets.onnx.versions import save_for_old_runtimes
from compress.targets.onnxruntime_cpu import TOLERANCE

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

QMAX = {4: 7, 7: 63, 8: 127}
"""Bits -> the largest whole number."""

LOWERED = 1 / 3
"""How much of what a file may differ from the model it may differ from fake quantization, where a value between two steps
falls to either side; OpenVINO computes what stays float in bfloat16 besides."""

WeightBits = Annotated[Literal["auto", 7, 8], Field(description="bits of a weight; 7 is right on every processor")]
EmbeddingBits = Annotated[Literal[4, 8], Field(description="bits of an embedding's number; each row has a scale")]
MaxDrop = Annotated[
    float | None,
    Field(ge=0, le=1, description="largest loss of the metric on the selection part; products stay float until it is met"),
]
MaxFlips = Annotated[float, Field(ge=0, le=1, description="fraction of labels that may change before the file is rejected")]
MaxRelativeError = Annotated[
    float, Field(gt=0, le=1000, description="root mean square error over that of the logits before the file is rejected")
]


@dataclass(frozen=True)
class QuantizedFormat:
    """How a target's file is written and run.

    Args:
        target: Its name, for messages.
        lower: Writes the products: one of lowering.py's functions, which is told `per_channel` and `qmax`.
        opened: Opens the file in the target's runtime.
        facts: For the file's metadata.
        qmax: The largest whole number of a weight.
        embedding_bits: Of the embeddings.
        tables_in_pairs: Whether the tables are written with DequantizeLinear.
        finish: Changes the graph at the end.
        in_segments: Opens segment.onnx of a model and a folder in the target's runtime, where the target can write it.
    """

    target: str
    lower: Callable[..., int]
    opened: Callable[[Path], Session]
    facts: dict[str, str]
    qmax: int = QMAX[8]
    embedding_bits: int = 8
    tables_in_pairs: bool = False
    finish: Callable[[ir.Model], object] | None = None
    in_segments: Callable[[PreTrainedModel, Path], Session] = in_segments


def write_static(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    form: QuantizedFormat,
    how: Calibrated,
    max_drop: float | None,
    max_flips: float,
    max_relative_error: float,
    memory: bool = False,
) -> list[ParityCheck]:
    """Write a file whose activations have fixed ranges: those that the model learned, or, for a float model, calibrated ones.

    Args:
        model: What to export.
        folder: Where model.onnx goes, and sensitivity.json if `max_drop` is given.
        task: Its calibration part finds the ranges and proves the file; its selection part judges `max_drop`.
        form: How the file is written.
        how: How ranges are found.
        max_drop: Largest loss on the selection part.
        max_flips: Against the model.
        max_relative_error: Against the model.
        memory: Write segment.onnx too.

    Returns:
        The stages: the float graph against torch, the lowered file against fake quantization, and against the model; and the
        file that reads segments against the model.

    Raises:
        NoEffect: No product of the running graph multiplies integers.
    """
    student = copy_of(model) if quantized_linears(model) else calibrated(model, task, how)
    set_qmax(student, weights=form.qmax, tables=QMAX[form.embedding_bits])
    _keep_unreached_in_float(student, task)
    if max_drop is not None:
        student = keep_in_float(student, task, max_drop, folder)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        raw = Path(room) / FILE
        with quantizers_off(student):
            write_graph(student, raw)
            reference, file = Reference(student, task), file_in(raw.parent)
            stages = [reference.judge("export", in_onnxruntime(file), max_relative_error=TOLERANCE, max_flips=0.0)]
        if not stages[0].accepted:
            return stages
        for path in graph_files(file):
            write_lowered(student, path, folder / path.name, form)
        if memory:
            with quantizers_off(student):
                write_segment_graph(student, raw)
            write_lowered(student, raw, folder / SEGMENT_FILE, form)
    opened = form.opened(folder / file.name)
    limits = {"max_relative_error": max_relative_error * LOWERED, "max_flips": max_flips * LOWERED}
    stages.append(Reference(student, task).judge("lower", opened, **limits))
    if stages[-1].accepted:
        reference, limits = Reference(model, task), {"max_relative_error": max_relative_error, "max_flips": max_flips}
        stages.append(reference.judge("int8", opened, **limits))
        if stages[-1].accepted and memory:
            stages.append(reference.judge(SEGMENT_STAGE, form.in_segments(model, folder), **limits))
    for stage in stages[1:]:
        refuse_no_effect(form.target, stage)
    return stages


def _keep_unreached_in_float(student: PreTrainedModel, task: Task) -> None:
    """Switch off the Linears that have no range since no text reaches them; the graph has no product of theirs.

    Raises:
        InputError: One without a range runs.
    """
    unknown = {name: linear for name, linear in quantized_linears(student).items() if not linear.has_range}
    ran = reached(student, task) if unknown else set()
    for name, linear in unknown.items():
        if name in ran:
            raise InputError(f"the range of {name} is unknown; train the model with quantize_aware again.")
        linear.on = False


def write_lowered(student: PreTrainedModel, raw: Path, path: Path, form: QuantizedFormat) -> None:
    """Write the integers of a quantized model into its float graph."""
    linears = {name: linear for name, linear in quantized_linears(student).items() if linear.on}
    per_channel = all(linear.per_channel for linear in linears.values())
    graph = ir.load(raw)
    chosen = [product for product in products(graph) if product.module in linears]
    grids = {name: QuantParams.of(linear) for name, linear in linears.items()}
    form.lower(graph, chosen, grids, per_channel=per_channel, qmax=form.qmax)
    lower_tables(graph, bits=form.embedding_bits, in_pairs=form.tables_in_pairs)
    if form.finish is not None:
        form.finish(graph)
    graph.metadata_props.update(form.facts)
    save_for_old_runtimes(graph, path)


def refuse_no_effect(target: str, stage: ParityCheck, *, integer_products: bool = True) -> None:
    """Raise NoEffect when no product multiplies integers, but should; name those that stayed float."""
    if not integer_products:
        logger.info("%s: a mean of vectors has no product to run on integers; its tables are stored in whole numbers", target)
    elif stage.integer_ops == 0:
        raise NoEffect(f"{target}: the running graph has no integer operator; export to a float target instead.")
    if stage.stayed_float:
        logger.info("%s: these products stayed float: %s", target, ", ".join(stage.stayed_float))
