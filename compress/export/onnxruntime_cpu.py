"""float32 ONNX for onnxruntime on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.export.graph import FILE, write_graph
from compress.export.parity import Reference, Stage

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task

TOLERANCE = 1e-3


@within_range
def onnxruntime_cpu(model: PreTrainedModel, folder: Path, *, task: Task) -> list[Stage]:
    """Write a float32 model.onnx that onnxruntime runs on any CPU.

    Source: https://onnxruntime.ai/docs/execution-providers (CPU); attention is exported in its eager form.

    Args:
        model: What to export.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and the file are compared.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.
    """
    write_graph(model, folder / FILE)
    return [Reference(model, task).judge("export", folder / FILE, max_relative_error=TOLERANCE, max_flips=0.0)]
