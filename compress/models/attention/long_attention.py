"""Attention for long inputs in the place of a BERT's own: the modules, and what structure.json tells of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.hashing import hashed, rotations
from compress.models.attention.kernel import LongAttention, hiding, use_tokens
from compress.models.attention.segments import ChunkAndPool, TransformerXL, read_in_segments
from compress.models.attention.windows import windowed
from compress.models.families import family_of, longest_text
from compress.models.families.family import Family
from compress.models.first_token import attended_by_first, rows_of_heads
from compress.models.layout import attention_of, encoder_layers, head_count


class Longformer(LongAttention):
    """A window of neighbours and a few global tokens; see `compress.models.attention.windows`."""

    kind = "longformer"

    def __init__(self, plain: nn.Module, family: Family, *, window: int, global_tokens: int) -> None:
        super().__init__(plain, family)
        self.window, self.global_tokens = window, global_tokens
        self.first_sees_all = global_tokens > 0
        if global_tokens:
            for name in self._projections:
                setattr(self, f"global_{name}", copy.deepcopy(getattr(plain, name)))

    @property
    def span(self) -> int:
        """Half of the window."""
        return self.window // 2

    @property
    def global_projections(self) -> tuple[Any, Any, Any]:
        """Query, key and value of the global tokens' own attention."""
        query, key, value = (getattr(self, f"global_{name}") for name in self._projections)
        return query, key, value

    def attend(
        self,
        hidden_states: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        layout: Any,
    ) -> torch.Tensor:
        """See LongAttention."""
        near = windowed(
            query,
            key,
            value,
            mask,
            window=self.window,
            globals_=self.global_tokens,
            dropout=self.dropout.p,
            training=self.training,
        )
        if not self.global_tokens:
            return near
        far = self._far(hidden_states, mask, query.shape[1])
        return torch.cat([far, near[:, :, self.global_tokens :]], 2)

    def _far(self, hidden_states: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
        """What global tokens' attention answers, (batch, heads, global tokens, head size)."""
        dropout = self.dropout.p if self.training else 0.0
        if self.global_tokens == 1:
            query_of, *others = self.global_projections
            query, rows = query_of(hidden_states[:, :1]) * self.scaling, rows_of_heads(heads, query_of)
            context = attended_by_first(query, others, rows, hidden_states, mask[:, None], dropout=dropout)
            return context.view(context.shape[0], 1, heads, -1).transpose(1, 2)
        given = (hidden_states[:, : self.global_tokens], hidden_states, hidden_states)
        query, key, value = (
            linear(states).unflatten(-1, (heads, -1)).transpose(1, 2)
            for linear, states in zip(self.global_projections, given, strict=True)
        )
        scores = (query * self.scaling) @ key.transpose(-1, -2) + hiding(mask[:, None, None], query.dtype)
        return functional.dropout(scores.softmax(-1), dropout) @ value


class Reformer(LongAttention):
    """Tokens of the same buckets; see `compress.models.attention.hashing`."""

    kind = "reformer"
    turns: torch.Tensor

    def __init__(
        self, plain: nn.Module, family: Family, *, chunk: int, buckets: int, rounds: int, shared: bool, seed: int
    ) -> None:
        super().__init__(plain, family)
        self.chunk, self.buckets, self.rounds, self.shared, self.seed = chunk, buckets, rounds, shared, seed
        heads, size = getattr(self, self._heads), self.attention_head_size
        self.register_buffer("turns", rotations(heads, size, buckets, rounds, seed), persistent=False)

    @property
    def span(self) -> int:
        """A chunk."""
        return self.chunk

    def attend(
        self,
        hidden_states: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        layout: Any,
    ) -> torch.Tensor:
        """See LongAttention."""
        if self.shared:
            key = functional.normalize(query, dim=-1) * query.shape[-1] ** 0.5
        return hashed(query, key, value, mask, self.turns, chunk=self.chunk, dropout=self.dropout.p, training=self.training)


ATTENTIONS: dict[str, type[LongAttention]] = {
    attention.kind: attention for attention in (Longformer, Reformer, TransformerXL, ChunkAndPool)
}
DEFAULTS: dict[str, dict[str, int | bool]] = {
    "longformer": {"window": 256, "global_tokens": 1},
    "reformer": {"chunk": 64, "buckets": 64, "rounds": 2, "shared": False, "seed": 0},
    "transformer_xl": {"segment": 512},
    "chunk_and_pool": {"segment": 512},
}
"""The options of each, which structure.json tells, and what they are where nothing else is asked for."""
LEAST, LARGEST = {"window": 2, "chunk": 1, "buckets": 2, "rounds": 1, "segment": 2}, 1 << 32


def attention_structure(model: PreTrainedModel) -> dict[str, Any] | None:
    """What structure.json tells of a model's attention; None where it is its own."""
    attention = next((module for module in model.modules() if isinstance(module, LongAttention)), None)
    return (
        None
        if attention is None
        else {"kind": attention.kind, **{name: getattr(attention, name) for name in DEFAULTS[attention.kind]}}
    )


def attention_kind(model: PreTrainedModel) -> str | None:
    """What a model's attention was swapped for; None where it is its own."""
    return (attention_structure(model) or {}).get("kind")


def checked_attention(entry: Any) -> dict[str, Any]:
    """What structure.json tells, once it is what `swap` takes.

    Raises:
        InputError: It is not.
    """
    options = dict(entry) if isinstance(entry, dict) else {}
    kind = options.pop("kind", None)
    wanted = DEFAULTS.get(kind, {}) if isinstance(kind, str) else {}
    alike = options.keys() == wanted.keys() and all(type(options[name]) is type(value) for name, value in wanted.items())
    if not (wanted and alike) or any(not LEAST.get(name, 0) <= value <= LARGEST for name, value in options.items()):
        raise InputError(
            f"structure.json: attention is {entry!r}; kind must be {' or '.join(ATTENTIONS)}, with whole numbers for its "
            "sizes: restore the file from where the model was saved."
        )
    return {"kind": kind, **options}


def example_length(model: PreTrainedModel) -> int:
    """Tokens of an example to trace the model with: some blocks of its attention, since one block is a special case."""
    spans = [module.span for module in model.modules() if isinstance(module, LongAttention)]
    return min(longest_text(model.config), max([8, *(3 * span + 1 for span in spans)]))


def swap(model: PreTrainedModel, entry: Mapping[str, Any]) -> None:
    """Let a model's layers attend in another way, in place; layers without heads stay.

    Args:
        model: Its attention is its own.
        entry: The kind and its options.
    """
    family = family_of(model)
    options = {name: value for name, value in entry.items() if name != "kind"}
    for layer in encoder_layers(model):
        if head_count(layer):
            layer.set_submodule(family.attention, ATTENTIONS[entry["kind"]](attention_of(layer), family, **options))
    if "segment" in options:
        read_in_segments(model, options["segment"])
    use_tokens(model)
