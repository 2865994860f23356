"""float16 ONNX for onnxruntime on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import onnx_ir as ir
import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import CompressError
from compress.models.quantizers import quantizers_off
from compress.models.surgery import copy_of
from compress.targets.onnx.graph import FILE, in_onnxruntime, write_graph
from compress.targets.onnx.integers import MaxFlips, MaxRelativeError
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.versions import save_for_old_runtimes

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

RUNTIME = "onnx"
DEVICE = "cuda"


@within_range
def onnxruntime_cuda_fp16(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    outputs: Annotated[Literal["float16", "float32"], Field(description="numbers of the answers")] = "float16",
    max_flips: MaxFlips = 0.02,
    max_relative_error: MaxRelativeError = 0.05,
) -> list[ParityCheck]:
    """Write a float16 model.onnx for onnxruntime's CUDA provider; it is half the size of the float32 one.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/float16.html. It is compared with torch in float32 on
    the CPU, where onnxruntime runs the same numbers; measure its speed on a GPU (`benchmark.device: cuda`).

    Args:
        model: What to export; of one that quantizes, the float weights.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and the file are compared.
        outputs: "float32" casts the answers at the end, for readers that have no float16, such as JavaScript's.
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        CompressError: A weight is too large for float16.
    """
    half = copy_of(model).half()
    large = [name for name, tensor in half.state_dict().items() if not torch.isfinite(tensor).all()]
    if large:
        raise CompressError(f"{large[0]} has weights beyond 65504, the largest float16; export to a float32 target.")
    with quantizers_off(half), quantizers_off(model):
        write_graph(half, folder / FILE, once=True)
        graph = ir.load(folder / FILE)
        if outputs == "float32":
            _cast_outputs(graph)
        save_for_old_runtimes(graph, folder / FILE)
        opened = in_onnxruntime(folder / FILE)
        return [Reference(model, task).judge("float16", opened, max_relative_error=max_relative_error, max_flips=max_flips)]


def _cast_outputs(graph: ir.Model) -> None:
    """Give every output as float32, by its own name."""
    for index, half in enumerate(graph.graph.outputs):
        node = ir.node("Cast", [half], attributes={"to": int(ir.DataType.FLOAT)})
        graph.graph.append(node)
        whole = node.outputs[0]
        whole.name, half.name = half.name, f"{half.name}.half"
        whole.dtype, whole.shape = ir.DataType.FLOAT, half.shape
        graph.graph.outputs[index] = whole
