"""4-bit weights in ONNX for onnxruntime on a CPU: the smallest file, not the fastest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import onnx_ir as ir
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError
from compress.models.heads import last_linear
from compress.models.quantizers import quantizers_off
from compress.runtimes.graph_files import file_in, graph_files
from compress.targets.onnx.blocks import lower_to_blocks
from compress.targets.onnx.graph import FILE, in_onnxruntime, write_graph
from compress.targets.onnx.integers import EmbeddingBits, MaxFlips, MaxRelativeError
from compress.targets.onnx.kernels import for_onnxruntime
from compress.targets.onnx.lowering import lower_tables, products
from compress.targets.onnx.parity import ParityCheck, Reference
from compress.targets.onnx.versions import save_for_old_runtimes
from compress.targets.onnxruntime_cpu import TOLERANCE

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TARGET = "onnxruntime-cpu-q4"
RUNTIME = "onnx"
WRITES = LEAVES = True
COMPUTED = {"float32": 1, "int8": 4}
"""What MatMulNBits calls its levels of accuracy."""


def refuse(model: PreTrainedModel) -> None:
    """Raise InputError where no weight could have four bits."""
    last = set(last_linear(model).modules())
    if not any(isinstance(module, nn.Linear) and module not in last for module in model.modules()):
        raise InputError(
            f"{TARGET}: a {model.config.model_type} has no product whose weight could have 4 bits; export it to "
            "onnxruntime-cpu-int8."
        )


@within_range
def onnxruntime_cpu_q4(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    block: Annotated[Literal[16, 32, 64, 128], Field(description="weights of a row that share a scale")] = 32,
    computed: Annotated[Literal["float32", "int8"], Field(description="numbers that products are computed in")] = "int8",
    embedding_bits: EmbeddingBits = 8,
    max_flips: MaxFlips = 0.1,
    max_relative_error: MaxRelativeError = 0.5,
) -> list[ParityCheck]:
    """Write a model.onnx whose products with constant weights read these in blocks of 4 bits, embedding tables in eight.

    Layers take about half of what they take in a file of onnxruntime-cpu-int8, and run hardly faster than in float32 on most
    processors, since its kernels were made for one token at a time: take it where the download decides. No data is needed:
    each block's scale is the one that rounds its weights best.

    Source: onnxruntime, MatMulNBits, https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md; Frantar et
    al. 2023, GPTQ, arXiv 2210.17323, section 5 (groups of weights with a scale each), rounded to nearest here.

    Args:
        model: What to export; of one that quantizes, the float weights.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which torch and the file are compared.
        block: A smaller one is more accurate and larger: a scale takes 32 bits.
        computed: "int8" rounds what a product reads to 8 bits a block, which is faster where there are kernels for it.
        embedding_bits: Of the embeddings; 4 costs accuracy.
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        InputError: The model has no product with a constant weight.
    """
    refuse(model)
    with tempfile.TemporaryDirectory(dir=folder) as room, quantizers_off(model):
        raw, reference = Path(room) / FILE, Reference(model, task)
        write_graph(model, raw)
        file = file_in(raw.parent)
        stages = [reference.judge("export", in_onnxruntime(file), max_relative_error=TOLERANCE, max_flips=0.0)]
        if not stages[0].accepted:
            return stages
        for path in graph_files(file):
            graph = ir.load(path)
            lower_to_blocks(graph, products(graph), block=block, level=COMPUTED[computed])
            lower_tables(graph, bits=embedding_bits)
            for_onnxruntime(graph)
            graph.metadata_props.update({"weight_bits": "4", "block": str(block), "computed": computed})
            save_for_old_runtimes(graph, folder / path.name)
        opened = in_onnxruntime(folder / file.name)
        stages.append(reference.judge("q4", opened, max_relative_error=max_relative_error, max_flips=max_flips))
    return stages
