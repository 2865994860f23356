"""Compute only what a classifier reads: the first token of the last layer.

A BERT classifier reads the last layer's first token alone. Its other tokens matter there only as keys and values. And with
one query per head, the key and value projections move to the query's side of the products:

    q . (K h + b_k) = (K' q) . h + constant        softmax drops the constant
    sum_j p_j (V h_j + b_v) = V (sum_j p_j h_j) + b_v sum_j p_j

so that no projection of the last layer runs once per token any more. The result is the same number by number, up to rounding,
and so are the gradients; a six-layer classifier saves a sixth of its work, a three-layer one a third.

Each head's query is laid into a row of full width with zeros elsewhere, so that both products use the projections' own
two-dimensional weights, which the integer kernels of the runtimes know.

A model that quantizes keeps its key and value projections over all tokens, since moving them would quantize other numbers; so
does every one whose projections are more than a plain Linear: of low rank, or with low-rank matrices that learn beside them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.attention.disentangled import DisentangledAttention
from compress.models.attention.kernel import LongAttention, hiding
from compress.models.exits import exits_of
from compress.models.families import family_of_layer
from compress.models.layout import attention_of, encoder_layers, head_count, projections_of, reads_first_token_only


@contextlib.contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer compute its first token only, where the head reads no other; elsewhere change nothing.

    Inside, `last_hidden_state` is (batch, 1, width). Weights and names stay as they are.
    """
    layer: Any = encoder_layers(model)[-1] if reads_first_token_only(model) else None
    if layer is None or "forward" in vars(layer):  # the latter: it does already
        yield
        return
    layer.forward = first_token_forward(layer)
    try:
        yield
    finally:
        del layer.forward


@contextlib.contextmanager
def lean_exits(model: PreTrainedModel) -> Iterator[None]:
    """Let exits have their states computed for the first token alone, from what goes into their layers, where these can do
    that: a ninth of a layer's work for a text of 25 tokens. Those that go on then need the whole layer, and not the exit's."""
    exits = exits_of(model)
    every = encoder_layers(model) if exits is not None else []
    if exits is not None:
        exits.lean = {number: first_token_forward(every[number]) for number in exits.layers if _is_lean(every[number])}
    try:
        yield
    finally:
        if exits is not None:
            exits.lean = {}


def _is_lean(layer: Any) -> bool:
    return family_of_layer(layer).after_attention is not None and getattr(attention_of(layer), "first_sees_all", True)


def first_token_forward(layer: Any) -> Callable[..., torch.Tensor]:
    """A forward pass of a layer that computes its first token only, (batch, 1, width); its arguments are the layer's."""
    attention = attention_of(layer)
    projections = getattr(attention, "global_projections", None) or projections_of(layer)
    after_attention = family_of_layer(layer).after_attention
    assert after_attention is not None
    heads = head_count(layer)
    if not heads:
        return lambda hidden_states, *_, **__: after_attention(layer, hidden_states[:, :1, :0], hidden_states[:, :1])
    rows = rows_of_heads(heads, projections[0])

    def forward(
        hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, layout: Any = None, **options: Any
    ) -> torch.Tensor:
        states, allowed, keys = hidden_states, attention_mask, None
        if attention_mask is not None and isinstance(attention, LongAttention):
            states, allowed = attention.seen_by_first(hidden_states, attention_mask, layout)
        query = projections[0](states[:, :1]) * attention.scaling
        if isinstance(attention, DisentangledAttention):
            keys = projections[1](states)
            allowed = attention.added_for_first(query, keys, attention_mask, **options)
        elif attention_mask is not None and allowed is attention_mask:
            allowed = attention_mask[:, :, 0]  # of a mask over pairs of tokens, which heads may share
        dropout = attention.dropout.p if attention.training else 0.0
        context = attended_by_first(query, projections[1:], rows, states, allowed, keys=keys, dropout=dropout)
        return after_attention(layer, context, hidden_states[:, :1])

    return forward


def rows_of_heads(heads: int, query_of: Any) -> torch.Tensor:
    """Which columns of the attention's width belong to each head, (heads, width), 1 or 0."""
    # onnxscript 0.7.0 cannot translate repeat_interleave of one dimension
    owner = torch.arange(heads)[:, None].expand(-1, query_of.out_features // heads).flatten()
    return (owner[None, :] == torch.arange(heads)[:, None]).float().to(query_of.weight.device)


def attended_by_first(
    query: torch.Tensor,
    projections: Sequence[Any],
    rows: torch.Tensor,
    hidden_states: torch.Tensor,
    allowed: torch.Tensor | None,
    *,
    keys: torch.Tensor | None = None,
    dropout: float,
) -> torch.Tensor:
    """What the first token's attention to all tokens answers, (batch, 1, attention width).

    Args:
        query: Of the first token, scaled, (batch, 1, attention width).
        projections: Of key and value.
        rows: See `rows_of_heads`.
        hidden_states: (batch, length, width).
        allowed: (batch, 1, length), true for tokens, or what is added to their scores, which may differ by head,
            (batch, heads, length); None where there is no padding.
        keys: What the key projection answers for all tokens, where something else needs it too.
        dropout: Of the probabilities; 0 outside of training.
    """
    key_of, value_of = projections
    rows = rows.to(hidden_states.dtype)
    stay = any(type(projection) is not nn.Linear for projection in (key_of, value_of))
    query = query * rows  # (batch, heads, attention width)
    if stay and keys is None:
        keys = key_of(hidden_states)
    if keys is not None:
        scores = query @ keys.transpose(1, 2)
    else:
        scores = torch.matmul(query, key_of.weight) @ hidden_states.transpose(1, 2)  # (batch, heads, length)
    if allowed is not None:
        scores = scores + (hiding(allowed, scores.dtype) if allowed.dtype == torch.bool else allowed)
    probabilities = nn.functional.dropout(scores.softmax(-1), dropout)
    if stay:
        value = probabilities @ value_of(hidden_states)
    else:
        mixed = probabilities @ hidden_states  # (batch, heads, width)
        value = torch.matmul(mixed, value_of.weight.t())  # (batch, heads, attention width)
        # dropout may let the probabilities' sum differ from 1
        value = value + (value_of.bias * probabilities.sum(-1, keepdim=True) if dropout else value_of.bias)
    ones = torch.ones((1, len(rows)), dtype=value.dtype, device=value.device)
    return ones @ (value * rows)  # faster than a sum
