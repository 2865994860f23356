"""ONNX for OpenVINO on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError
from compress.facts import SEGMENT_STAGE
from compress.models.quantizers import quantizers_off
from compress.runtimes.segment_reader import SEGMENT_FILE
from compress.runtimes.table import load_runtime
from compress.targets.onnx.graph import FILE, Session, in_onnxruntime, in_runtime, write_graph
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.segment import Memory, in_segments, write_float_segment
from compress.targets.onnx.short_vectors import ShortVectors, write_short_vectors
from compress.targets.onnx.versions import lower_versions
from compress.targets.onnxruntime_cpu import TOLERANCE

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

RUNTIME = "openvino"
LEAVES = True
BF16_ERROR, BF16_FLIPS = 0.05, 0.02

Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    Field(description="of what is not integers; auto is what OpenVINO finds fastest on the processor that serves"),
]


@within_range
def openvino_cpu(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    precision: Precision = "auto",
    memory: Memory = False,
    vectors: ShortVectors = None,
) -> list[ParityCheck]:
    """Write a float model.onnx and run it in OpenVINO, in bfloat16 where the processor multiplies that in hardware.

    Source: https://docs.openvino.ai, "CPU device" (inference precision).

    Args:
        model: What to export; of one that quantizes, the float weights.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and the file are compared.
        precision: Kept in bert_compress.json; give OpenVINO the same INFERENCE_PRECISION_HINT when serving ("f32", "bf16").
        memory: Write segment.onnx too, see `compress.targets.onnx.segment`; for a model that reads segments.
        vectors: Of a sentence embedder, what the file gives besides, see `compress.targets.onnx.short_vectors`.

    Returns:
        The stages with their parity: the file in onnxruntime, and in OpenVINO.

    Raises:
        InputError: OpenVINO is not installed, the model has an LSTM, or there is no memory to hand on.
    """
    load_runtime(RUNTIME).need()
    refuse(model)
    with quantizers_off(model):
        write_graph(model, folder / FILE, once=True)
        lower_versions(folder / FILE)
        reference = Reference(model, task)
        stages = [reference.judge("export", in_onnxruntime(folder / FILE), max_relative_error=TOLERANCE, max_flips=0.0)]
        if stages[0].accepted:
            exact = precision == "float32"
            error, flips = (TOLERANCE, 0.0) if exact else (BF16_ERROR, BF16_FLIPS)
            opened = in_openvino(folder / FILE, precision)
            stages.append(reference.judge("openvino", opened, max_relative_error=error, max_flips=flips))
            write_short_vectors(vectors, model, folder, task)
            if memory:
                write_float_segment(model, folder / SEGMENT_FILE)
                opened = in_segments(model, folder, runtime=RUNTIME, precision=precision)
                stages.append(reference.judge(SEGMENT_STAGE, opened, max_relative_error=error, max_flips=flips))
        return stages


def refuse(model: PreTrainedModel) -> None:
    """Raise InputError where a model has an LSTM: OpenVINO reads past the lengths that ONNX's operator is told."""
    if any(isinstance(module, nn.LSTM) for module in model.modules()):
        raise InputError(
            f"openvino-cpu: a {model.config.model_type} has an LSTM, which OpenVINO lets read the padding of shorter texts; "
            "export it to onnxruntime-cpu or onnxruntime-cpu-int8."
        )


def in_openvino(path: Path, precision: str = "auto") -> Session:
    """Open a file in OpenVINO on the CPU, in a process of its own."""
    return in_runtime(path, RUNTIME, precision=precision)
