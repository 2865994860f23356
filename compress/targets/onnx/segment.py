"""A second file beside model.onnx, which reads one segment and hands on what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import onnx_ir as ir
import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.long_attention import DEFAULTS
from compress.models.attention.segments import Carried, Segments, carried, nothing_read, segments_of
from compress.models.sharing import shared_parameters
from compress.models.spelled import spelling_folded
from compress.runtimes.graph_files import PAST, PRESENT
from compress.runtimes.segment_reader import SEGMENT_FILE, SegmentFile, open_segment_file
from compress.runtimes.table import DEFAULT
from compress.targets.onnx.graph import Session, in_runtime, input_names, tidy, write_module
from compress.targets.onnx.kernels import sums_before_norms
from compress.targets.onnx.versions import save_for_old_runtimes

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

DRIFT = (1, 4, 16, 64)
"""Numbers of segments after which an int8 file is compared with the model once more."""
TEXTS, TAKEN = 4, 512

Memory = Annotated[
    bool, Field(description="write segment.onnx too, which reads one segment of a text of any length and hands its memory on")
]
SEGMENTED = tuple(kind for kind, options in DEFAULTS.items() if "segment" in options)
NO_SEGMENTS = (
    "memory is true, but the model does not read segments; let a step swap_attention with kind: "
    f"{' or '.join(SEGMENTED)} go before, or remove it."
)


class _Segment(nn.Module):
    """A model that reads one segment: tokens and what was carried in, logits and what is carried on out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.names = input_names(model)

    def forward(self, tokens: list[torch.Tensor], past: list[torch.Tensor]) -> list[torch.Tensor]:
        known = iter(past[2:])
        memory: list[Any] = [
            None if pair is None else (next(known), next(known)) for pair in nothing_read(self.model, 1).memory
        ]
        with carried(self.model, Carried(past[0], past[1], memory)) as encoder:
            logits = self.model(**dict(zip(self.names, tokens, strict=True))).logits
            now = encoder.carried
        assert now is not None
        return [logits, *_flat(now)]


def _flat(read: Carried) -> list[torch.Tensor]:
    """What is carried, as the file's inputs and outputs have it."""
    return [read.total, read.segments, *(tensor for pair in read.memory if pair is not None for tensor in pair)]


def _state_names(read: Carried) -> list[str]:
    """The names of the same."""
    layers = [index for index, pair in enumerate(read.memory) if pair is not None]
    return ["total", "segments", *(f"{index}.{end}" for index in layers for end in ("key", "value"))]


def refuse_memory(kind: str | None) -> None:
    """Raise InputError where a model with attention of that kind has no memory to hand on."""
    if kind not in SEGMENTED:
        raise InputError(NO_SEGMENTS)


def refuse_no_segments(model: PreTrainedModel) -> None:
    """Raise InputError where a model does not read segments."""
    _encoder(model)


def _encoder(model: PreTrainedModel) -> Segments:
    segments = segments_of(model)
    if segments is None:
        raise InputError(NO_SEGMENTS)
    return segments


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
    state_names, (_, _, *pairs) = _state_names(start), _flat(start)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=segment)
    memory_length = torch.export.Dim("held", max=segment)
    memory = [tensor.new_zeros((2, tensor.shape[1], segment - 1, tensor.shape[3])) for tensor in pairs]
    free = ([{0: batch, 1: length}] * len(names), [{0: batch}, {0: batch}, *[{0: batch, 2: memory_length}] * len(memory)])
    with spelling_folded(model):
        write_module(
            _Segment(model).eval(),
            (tokens, [start.total, start.segments + 1, *memory]),
            path,
            inputs=[*names, *(PAST + name for name in state_names)],
            outputs=["logits", *(PRESENT + name for name in state_names)],
            free=free,
        )
    tidy(path, shares=bool(shared_parameters(model)))


def write_float_segment(model: PreTrainedModel, path: Path) -> None:
    """Write a float file that reads one segment, see `write_segment_graph`."""
    write_segment_graph(model, path)
    graph = ir.load(path)
    sums_before_norms(graph)
    save_for_old_runtimes(graph, path)


def in_segments(model: PreTrainedModel, folder: Path, *, runtime: str = DEFAULT, **options: Any) -> Session:
    """Open the model's segment.onnx, in a process of its own, so that it reads whole texts, one segment after the other."""
    return in_runtime(folder / SEGMENT_FILE, runtime, segment=_encoder(model).segment, **options)


def in_torch(model: PreTrainedModel) -> SegmentFile:
    """The torch model itself in the place of its segment.onnx."""
    start, segment = nothing_read(model, 1), _Segment(model).eval()
    state_names = _state_names(start)
    shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(segment.names, (None, None))
    shapes |= {PAST + name: tuple(tensor.shape) for name, tensor in zip(state_names, _flat(start), strict=True)}

    def run(given: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        tensors = {name: torch.from_numpy(values) for name, values in given.items()}
        with torch.inference_mode():
            outputs = segment([tensors[name] for name in segment.names], [tensors[PAST + name] for name in state_names])
        names = ["logits", *(PRESENT + name for name in state_names)]
        return {name: tensor.float().numpy() for name, tensor in zip(names, outputs, strict=True)}

    return SegmentFile(shapes, run)


def drift(model: PreTrainedModel, folder: Path, *, task: Task, runtime: str = DEFAULT, **options: Any) -> dict[str, float]:
    """Measure how far the answers of a segment.onnx move from the torch model's as a text grows.

    Both read the task's calibration texts, one behind the other, segment by segment, each with its own memory.

    Args:
        model: That was exported.
        folder: That it was exported to.
        task: Its calibration part gives the texts.
        runtime: What runs the file.
        options: The runtime's own.

    Returns:
        For 1, 4, 16 and 64 segments the relative error of the logits after so many, as `onnx.parity` measures it.
    """
    segment = _encoder(model).segment
    first, rows = _long_texts(model, task, DRIFT[-1] * (segment - 1))
    files = in_torch(model), open_segment_file(folder / SEGMENT_FILE, runtime=runtime, **options)
    states, errors = [file.start(TEXTS) for file in files], {}
    for number in range(DRIFT[-1]):
        part = rows[:, number * (segment - 1) : (number + 1) * (segment - 1)]
        ids = np.concatenate([np.full((TEXTS, 1), first), part], 1)
        batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        answers = []
        for index, file in enumerate(files):
            logits, states[index] = file.read(batch, states[index], segment=segment)
            answers.append(logits)
        if number + 1 in DRIFT:
            errors[str(number + 1)] = task.rules.relative_error(*answers)
    return errors


def _long_texts(model: PreTrainedModel, task: Task, length: int) -> tuple[int, np.ndarray]:
    """What texts begin with, and texts of so many tokens, (texts, length): those of the calibration part again and again, each
    from another one on."""
    encoded = task.encode(task.calibration.require("calibration").take(TAKEN), model.tokenizer)
    texts = [ids[1:-1] for ids in encoded.input_ids]
    rows = []
    for row in range(TEXTS):
        start = row * len(texts) // TEXTS
        tokens = [token for text in [*texts[start:], *texts[:start]] for token in text] or [model.tokenizer.unk_token_id]
        rows.append(np.resize(np.array(tokens, dtype=np.int64), length))
    return encoded.input_ids[0][0], np.stack(rows)
