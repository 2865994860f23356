"""A second file beside model.onnx, which reads one segment and hands on what it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import onnx_ir as ir
import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.bert.long_attention import DEFAULTS
from compress.bert.segments import Carried, Segments, carried, nothing_read, segments_of
from compress.bert.sharing import shared_parameters
from compress.errors import InputError
from compress.export.graph import Opened, input_names, tidy, write_module
from compress.export.lowering import sums_before_norms
from compress.runtimes.foreign_file import ForeignFile
from compress.segment_reader import PAST, PRESENT, SEGMENT_FILE, Runtime

Memory = Annotated[
    bool, Field(description="write segment.onnx too, which reads one segment of a text of any length and hands its memory on")
]
SEGMENTED = tuple(kind for kind, options in DEFAULTS.items() if "segment" in options)
NO_SEGMENTS = ("memory is true, but the model does not read segments; let a step swap_attention with kind: "
               f"{' or '.join(SEGMENTED)} go before, or remove it.")  # fmt: skip


class _Segment(nn.Module):
    """A model that reads one segment: tokens and what was carried in, logits and what is carried on out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.names = input_names(model)

    def forward(self, tokens: list[torch.Tensor], past: list[torch.Tensor]) -> list[torch.Tensor]:
        known = iter(past[2:])
        memory: list[Any] = [None if one is None else (next(known), next(known)) for one in nothing_read(self.model, 1).memory]
        with carried(self.model, Carried(past[0], past[1], memory)) as encoder:
            logits = self.model(**dict(zip(self.names, tokens, strict=True))).logits
            now = encoder.carried
        assert now is not None
        return [logits, now.total, now.segments, *(tensor for pair in now.memory if pair is not None for tensor in pair)]


def refuse_memory(kind: str | None) -> None:
    """Raise InputError where a model with attention of that kind has no memory to hand on."""
    if kind not in SEGMENTED:
        raise InputError(NO_SEGMENTS)


def _encoder(model: PreTrainedModel) -> Segments:
    found = segments_of(model)
    if found is None:
        raise InputError(NO_SEGMENTS)
    return found


def write_segment_graph(model: PreTrainedModel, path: Path) -> None:
    """Export what reads one segment, with free batch size and length.

    Inputs are those of model.onnx for the text's first token and the segment's, and what was carried: `past.total`, the sum of
    the first tokens' states so far, (batch, width); `past.segments`, how many those were, (batch, 1); `past.N.key` and
    `past.N.value` of each layer that remembers, (batch, heads, tokens, head size), of no tokens before the first segment.
    Outputs are the logits for the text so far, and `present.` of each.

    Raises:
        InputError: The model does not read segments.
        CompressError: The exporter failed.
    """
    names, segment = input_names(model), _encoder(model).segment
    tokens = [torch.ones((2, segment), dtype=torch.long) for _ in names]
    start = nothing_read(model, 2)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=segment)
    held = torch.export.Dim("held", max=segment)
    layers = [index for index, pair in enumerate(start.memory) if pair is not None]
    told = ["total", "segments", *(f"{index}.{end}" for index in layers for end in ("key", "value"))]
    pairs = [tensor for pair in start.memory if pair is not None for tensor in pair]
    memory = [one.new_zeros((2, one.shape[1], segment - 1, one.shape[3])) for one in pairs]
    free = ([{0: batch, 1: length}] * len(names), [{0: batch}, {0: batch}, *[{0: batch, 2: held}] * len(memory)])
    write_module(
        _Segment(model).eval(), (tokens, [start.total, start.segments + 1, *memory]), path,
        inputs=[*names, *(PAST + name for name in told)], outputs=["logits", *(PRESENT + name for name in told)], free=free,
    )  # fmt: skip
    tidy(path, shares=bool(shared_parameters(model)))
    graph = ir.load(path)
    sums_before_norms(graph)
    ir.save(graph, path)


def in_segments(
    model: PreTrainedModel, folder: Path, *, runtime: Runtime = "onnxruntime", precision: str = "auto"
) -> Opened:  # fmt: skip
    """Open the model's segment.onnx, in a process of its own, so that it reads whole texts, one segment after the other."""
    segment = _encoder(model).segment
    file = ForeignFile(folder / SEGMENT_FILE, "segments", segment=segment, in_runtime=runtime, precision=precision)
    return Opened(file.run, 0, 0, ())
