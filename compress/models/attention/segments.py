"""Read a long text segment by segment, each beginning with the text's first token, [CLS].

A classifier reads the mean of what the segments' first tokens have become. Alone, the segments are the plain way to read long
texts (`ChunkAndPool`). With `TransformerXL` a segment's tokens see those of the segment before it as well, whose keys and
values are the memory, and through the layers below what those saw: six layers reach six segments back. Positions start anew in
each.

All segments of a text are rows of one batch, since a layer's memory is what the layer below made of the segment before. A text
too long for that is read one segment after the other, with the memory carried along (`carried`), to the same answer.

Source: Dai et al. 2019, Transformer-XL, arXiv 1901.02860, sections 3.2 (recurrence) and 3.3 (relative positions).
Differs: within a segment the positions of the trained BERT stay, and the bias that is learned is of the tokens in memory: for
each head a constant and a slope over the distance. Gradients flow into the memory. A text is read in both directions within a
segment, and from the left beyond.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from compress.models.attention.kernel import LongAttention, hiding
from compress.models.families import family_of
from compress.models.families.family import Family

FARTHER = 2.0
"""By how much less a token in memory weighs at first, as a score; a trained BERT has never seen one."""
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Layout:
    """How segments lie in the rows of a batch: those of a text one behind the other.

    Args:
        batch: Texts.
        count: Segments of each.
        length: Tokens of the longest text.
        memory: Keys and values of the segment before, (batch, heads, tokens, head size), where it is not in the batch; of this
            one when the layer has run.
    """

    batch: int
    count: int
    length: int
    memory: Pair | None = None


@dataclass
class Carried:
    """What reading goes on with after a segment.

    Args:
        total: Sum of the first tokens' states of the segments so far, (batch, width).
        segments: How many those were, (batch, 1).
        memory: Each layer's keys and values of the last segment, see Layout; of no tokens before the first. None for a layer
            that keeps none.
    """

    total: torch.Tensor
    segments: torch.Tensor
    memory: list[Pair | None]


class Segments(nn.Module):
    """An encoder whose layers read segments; they stay where they were."""

    def __init__(self, encoder: nn.Module, layers: str, segment: int) -> None:
        super().__init__()
        for name, child in encoder.named_children():
            setattr(self, name, child)
        self.segment, self._layers = segment, layers
        self.carried: Carried | None = None

    @property
    def stack(self) -> Any:
        """The layers, in order."""
        return getattr(self, self._layers)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        mask = torch.ones_like(hidden_states[..., 0]) if attention_mask is None else attention_mask
        read = self._whole if self.carried is None else self._one
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=read(hidden_states, mask.bool()))

    def _whole(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states, mask, layout = cut(hidden_states, mask, self.segment)
        for layer in self.stack:
            states = layer(states, mask, layout=layout)
        return joined(states, mask, layout)

    def _one(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Read a segment, and put what there is of the whole text so far in the place of its first token."""
        assert self.carried is not None
        memory = []
        for layer, before in zip(self.stack, self.carried.memory, strict=True):
            layout = Layout(hidden_states.shape[0], 1, hidden_states.shape[1], before)
            hidden_states = layer(hidden_states, mask, layout=layout)
            memory.append(layout.memory)
        begins = self.carried.segments == 0  # a text's first token counts, though nothing may follow it
        reached = (mask[:, 1:].any(1, keepdim=True) | begins).to(hidden_states.dtype)
        total = self.carried.total + hidden_states[:, 0] * reached
        segments = self.carried.segments + reached
        self.carried = Carried(total, segments, memory)
        return torch.cat([(total / segments)[:, None], hidden_states[:, 1:]], 1)


class ChunkAndPool(LongAttention):
    """Full attention within a segment."""

    kind = "chunk_and_pool"
    first_sees_all = True

    def __init__(self, plain: nn.Module, family: Family, *, segment: int) -> None:
        super().__init__(plain, family)
        self.segment = segment

    @property
    def span(self) -> int:
        """A segment."""
        return self.segment

    def attend(
        self,
        hidden_states: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        layout: Layout,
    ) -> torch.Tensor:
        """See LongAttention."""
        return self._answer(query @ key.transpose(-1, -2), mask, value)

    def _answer(self, scores: torch.Tensor, mask: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """The values that scores, (batch, heads, queries, keys), choose among those that the mask, (batch, keys), allows."""
        probabilities = (scores + hiding(mask[:, None, None], scores.dtype)).softmax(-1)
        return functional.dropout(probabilities, self.dropout.p, self.training) @ value


class TransformerXL(ChunkAndPool):
    """Full attention within a segment and to the one before."""

    kind = "transformer_xl"

    def __init__(self, plain: nn.Module, family: Family, *, segment: int) -> None:
        super().__init__(plain, family, segment=segment)
        self.memory_bias = nn.Parameter(torch.tensor([FARTHER, 0.0]).repeat(getattr(self, self._heads), 1))

    def attend(
        self,
        hidden_states: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        layout: Layout,
    ) -> torch.Tensor:
        """See LongAttention."""
        if layout.memory is None:
            keys, values, allowed = (_segment_before(tensor, layout) for tensor in (key, value, mask))
        else:
            (keys, values), layout.memory = layout.memory, (key, value)
            allowed = torch.ones_like(keys[:, 0, :, 0], dtype=torch.bool)
        scores = query @ torch.cat([key, keys], 2).transpose(-1, -2)
        scores = scores + self._farther(query.shape[2], key.shape[2], keys.shape[2], query)
        return self._answer(scores, torch.cat([mask, allowed], 1), torch.cat([value, values], 2))

    def seen_by_first(
        self, hidden_states: torch.Tensor, mask: torch.Tensor, layout: Layout
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See LongAttention."""
        before = _segment_before(hidden_states, layout)
        allowed = torch.cat([mask, _segment_before(mask, layout)], 1)[:, None]
        length = hidden_states.shape[1]
        added = self._farther(1, length, length, hidden_states)[:, 0] + hiding(allowed, hidden_states.dtype)
        return torch.cat([hidden_states, before], 1), added

    def _farther(self, tokens: int, near: int, memory: int, like: torch.Tensor) -> torch.Tensor:
        """What is added to scores, since tokens in memory weigh less: (heads, tokens, near + memory)."""
        rows, columns = (torch.arange(count, device=like.device, dtype=torch.float32) for count in (tokens, memory))
        distance = (memory + rows[:, None] - columns) / self.segment  # in half precision numbers would stand in for others
        constant, slope = self.memory_bias[:, :, None, None].unbind(1)
        return functional.pad(-constant - slope * distance, (near, 0)).to(like.dtype)


def cut(hidden_states: torch.Tensor, mask: torch.Tensor, segment: int) -> tuple[torch.Tensor, torch.Tensor, Layout]:
    """Cut texts into segments, which are rows from then on.

    Args:
        hidden_states: (batch, length, width).
        mask: (batch, length), true for tokens.
        segment: Tokens of each, the first included; a text of fewer is one segment of so many.

    Returns:
        (batch * count, tokens, width), (batch * count, tokens), and how they lie.
    """
    batch, length, width = hidden_states.shape
    rest = torch.sym_max(length - 1, 1)  # type: ignore[no-untyped-call]
    body = torch.sym_min(segment - 1, rest)  # type: ignore[no-untyped-call]
    count = (rest + body - 1) // body
    missing = count * body - (length - 1)
    tokens = functional.pad(hidden_states[:, 1:], (0, 0, 0, missing)).reshape(batch, count, body, width)
    first = hidden_states[:, None, :1].expand(batch, count, 1, width)
    within = functional.pad(mask[:, 1:], (0, missing)).reshape(batch, count, body)
    begun = within.any(-1, keepdim=True) | (torch.arange(count, device=mask.device) == 0)[None, :, None]
    states = torch.cat([first, tokens], 2).reshape(batch * count, body + 1, width)
    return states, torch.cat([begun, within], 2).reshape(batch * count, body + 1), Layout(batch, count, length)


def joined(states: torch.Tensor, mask: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Put segments together again: the mean of the first tokens' states, and behind it every other token.

    Args:
        states: (batch * count, tokens, width), or of the first tokens alone, (batch * count, 1, width).
        mask: (batch * count, tokens).
        layout: How they lie.

    Returns:
        (batch, length, width), or (batch, 1, width).
    """
    rows = states.reshape(layout.batch, layout.count, states.shape[1], states.shape[2])
    begun = mask[:, :1].reshape(layout.batch, layout.count, 1).to(states.dtype)
    first = (rows[:, :, 0] * begun).sum(1, keepdim=True) / begun.sum(1, keepdim=True)
    if states.shape[1] == 1:
        return first
    rest = rows[:, :, 1:].reshape(layout.batch, layout.count * (states.shape[1] - 1), states.shape[2])
    return torch.cat([first, rest[:, : layout.length - 1]], 1)


def _segment_before(values: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Each row's segment before it, of which the first has none: zeros, or false."""
    rows = values.reshape(layout.batch, layout.count, *values.shape[1:])
    none = torch.zeros_like(rows[:, :1])
    return torch.cat([none, rows], 1)[:, : layout.count].reshape(values.shape)


def read_in_segments(model: PreTrainedModel, segment: int) -> None:
    """Let a model's encoder read segments, in place; its attention is one of those here.

    Its table of positions keeps the rows of one segment, and `max_position_embeddings` says what a text may have.
    """
    family = family_of(model)
    base: Any = model.base_model
    encoder, _, layers = family.layers.rpartition(".")
    base.set_submodule(encoder, Segments(base.get_submodule(encoder), layers, segment))
    embeddings = base.embeddings
    table = embeddings.position_embeddings
    table.weight = nn.Parameter(table.weight[:segment].clone(), requires_grad=table.weight.requires_grad)
    table.num_embeddings = segment
    where = "cpu" if table.weight.is_meta else table.weight.device  # they are no weights, which come later
    numbers = torch.arange(model.config.max_position_embeddings, device=where)
    numbers = torch.where(numbers > 0, (numbers - 1) % (segment - 1) + 1, 0)
    embeddings.register_buffer("position_ids", numbers[None], persistent=False)


def segments_of(model: PreTrainedModel) -> Segments | None:
    """The encoder that reads segments, where a model has one."""
    return next((module for module in model.modules() if isinstance(module, Segments)), None)


@contextlib.contextmanager
def carried(model: PreTrainedModel, before: Carried) -> Iterator[Segments]:
    """Let the model read one segment, and go on from what was carried there; `.carried` of what is yielded is what to go on
    with.

    Inside, the model answers for the text so far. Its input is the text's first token and the segment's.
    """
    encoder = segments_of(model)
    assert encoder is not None
    encoder.carried = before
    try:
        yield encoder
    finally:
        encoder.carried = None


def nothing_read(model: PreTrainedModel, batch: int) -> Carried:
    """What reading texts begins with."""
    encoder = segments_of(model)
    assert encoder is not None
    like = next(model.parameters())
    memory: list[Pair | None] = []
    for layer in encoder.stack:
        attention = next((module for module in layer.modules() if isinstance(module, TransformerXL)), None)
        none = (
            None
            if attention is None
            else like.new_zeros((batch, len(attention.memory_bias), 0, attention.attention_head_size))
        )
        memory.append(None if none is None else (none, none))
    return Carried(like.new_zeros((batch, model.config.hidden_size)), like.new_zeros((batch, 1)), memory)
