"""The two graphs of a model that writes; what they take and give stands in `compress.runtimes.writer_files`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.attention.kernel import attention_kernel
from compress.models.encoder_decoder import attending, cross_names, past_names, read, step
from compress.models.families import inputs_of, longest_text
from compress.models.layout import decoder_layers, head_count, head_size
from compress.models.sharing import shared_parameters
from compress.models.spelled import spelling_folded
from compress.runtimes.graph_files import DECODER, ENCODER, PRESENT
from compress.runtimes.runtime import LOGITS
from compress.runtimes.writer_files import MASK
from compress.runtimes.writing import GIVEN
from compress.targets.onnx.graph import tidy, write_module

BATCH, LENGTH, TOKENS, BEFORE = 2, 7, 5, 3
"""Of the example."""


class _Reads(nn.Module):
    """The part that reads texts."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return tuple(read(self.model, input_ids=input_ids, attention_mask=attention_mask, **types))


class _Writes(nn.Module):
    """The part that scores the next token."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: torch.Tensor, attention_mask: torch.Tensor, cross: list[torch.Tensor], past: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        logits, present = step(self.model, ids, attention_mask, cross, past)
        return [logits, *present]


def write_pair(model: PreTrainedModel, folder: Path) -> None:
    """Export encoder.onnx and decoder.onnx, with free batch size, lengths and tokens before.

    Raises:
        CompressError: The exporter failed.
    """
    mask = torch.ones((BATCH, LENGTH), dtype=torch.long)
    mask[1, 5:] = 0
    _write_reads(model, folder / ENCODER, mask)
    _write_writes(model, folder / DECODER, mask)
    shares = bool(shared_parameters(model))
    for name in (ENCODER, DECODER):
        tidy(folder / name, shares=shares)


def _write_reads(model: PreTrainedModel, path: Path, mask: torch.Tensor) -> None:
    names = inputs_of(model.config)
    example = {"input_ids": torch.ones_like(mask), MASK: mask, "token_type_ids": torch.zeros_like(mask)}
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest_text(model.config))}
    with attention_kernel(model, "eager"), spelling_folded(model):
        write_module(
            _Reads(model).eval(),
            tuple(example[name] for name in names),
            path,
            inputs=names,
            outputs=cross_names(model),
            free=tuple(free for _ in names),
        )


def _write_writes(model: PreTrainedModel, path: Path, mask: torch.Tensor) -> None:
    crossing = [layer.crossattention.self for layer in decoder_layers(model) for _ in ("key", "value")]
    cross = [torch.zeros((BATCH, own.num_attention_heads, LENGTH, own.attention_head_size)) for own in crossing]
    layers = [layer for _, layer in attending(model) for _ in ("key", "value")]
    past = [torch.zeros((BATCH, head_count(layer), BEFORE, head_size(layer))) for layer in layers]
    most = model.config.decoder.max_position_embeddings
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=longest_text(model.config))
    tokens, before = torch.export.Dim("tokens", max=most), torch.export.Dim("before", max=most)
    write_module(
        _Writes(model).eval(),
        (torch.ones((BATCH, TOKENS), dtype=torch.long), mask, cross, past),
        path,
        inputs=[GIVEN, MASK, *cross_names(model), *past_names(model)],
        outputs=[LOGITS, *past_names(model, PRESENT)],
        free=(
            {0: batch, 1: tokens},
            {0: batch, 1: length},
            [{0: batch, 2: length}] * len(cross),
            [{0: batch, 2: before}] * len(past),
        ),
    )
