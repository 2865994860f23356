"""float32 ONNX for onnxruntime on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.facts import SEGMENT_STAGE
from compress.models.quantizers import quantizers_off
from compress.runtimes.graph_files import file_in, graph_files
from compress.runtimes.segment_reader import SEGMENT_FILE
from compress.targets.onnx.graph import FILE, in_onnxruntime, write_graph
from compress.targets.onnx.kernels import sums_before_norms
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.segment import Memory, in_segments, write_float_segment
from compress.targets.onnx.several_tasks import Adapters, write_several_tasks
from compress.targets.onnx.short_vectors import ShortVectors, write_short_vectors
from compress.targets.onnx.versions import save_for_old_runtimes

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

RUNTIME = "onnx"
WRITES = LEAVES = True
TOLERANCE = 1e-3


@within_range
def onnxruntime_cpu(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    memory: Memory = False,
    vectors: ShortVectors = None,
    adapters: Adapters = None,
) -> list[ParityCheck]:
    """Write a float32 model.onnx that onnxruntime runs on any CPU; of a model that writes, encoder.onnx and decoder.onnx.

    Source: https://onnxruntime.ai/docs/execution-providers (CPU); attention is exported in its eager form. Residual sums are
    kept apart from LayerNorm, since the kernel that onnxruntime fuses them into is slower on CPUs.

    Args:
        model: What to export; of one that quantizes, the float weights.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and the file are compared.
        memory: Write segment.onnx too, see `compress.targets.onnx.segment`; for a model that reads segments.
        vectors: Of a sentence embedder, what the file gives besides, see `compress.targets.onnx.short_vectors`.
        adapters: Of further tasks that the file answers, see `compress.targets.onnx.several_tasks`.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        InputError: There is no memory to hand on.
    """
    if adapters:
        return write_several_tasks(onnxruntime_cpu, model, folder, adapters, task=task)
    with quantizers_off(model):
        write_graph(model, folder / FILE, once=True)
        file = file_in(folder)
        for path in graph_files(file):
            graph = ir.load(path)
            sums_before_norms(graph)
            save_for_old_runtimes(graph, path)
        reference = Reference(model, task)
        stages = [reference.judge("export", in_onnxruntime(file), max_relative_error=TOLERANCE, max_flips=0.0)]
        write_short_vectors(vectors, model, folder, task)
        if memory:
            write_float_segment(model, folder / SEGMENT_FILE)
            opened = in_segments(model, folder)
            stages.append(reference.judge(SEGMENT_STAGE, opened, max_relative_error=TOLERANCE, max_flips=0.0))
        return stages
