"""Compute only what a classifier reads: the first token of the last layer.

A BERT classifier reads the last layer's first token alone. Its other tokens matter there only as keys and values. And with
one query per head, the key and value projections move to the query's side of the products:

    q . (K h + b_k) = (K' q) . h + constant        softmax drops the constant
    sum_j p_j (V h_j + b_v) = V (sum_j p_j h_j) + b_v sum_j p_j

so that no projection of the last layer runs once per token any more. The result is the same number by number, up to rounding,
and so are the gradients; a six-layer classifier saves a sixth of its work, a three-layer one a third.

Each head's query is laid into a row of full width with zeros elsewhere, so that both products use the projections' own
two-dimensional weights, which the integer kernels of the runtimes know.

A model that quantizes keeps its key and value projections over all tokens, since moving them would quantize other numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.bert.families import family_of_layer
from compress.bert.layout import attention_of, encoder_layers, head_count, projections_of, reads_first_token_only
from compress.bert.quantizers import QuantizedLinear


@contextlib.contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer compute its first token only, where the head reads no other; elsewhere change nothing.

    Inside, `last_hidden_state` is (batch, 1, width). Weights and names stay as they are.
    """
    layer: Any = encoder_layers(model)[-1] if reads_first_token_only(model) else None
    if layer is None or "forward" in vars(layer):  # the latter: it does already
        yield
        return
    layer.forward = _first_token_forward(layer)
    try:
        yield
    finally:
        del layer.forward


def _first_token_forward(layer: Any) -> Callable[..., torch.Tensor]:
    attention = attention_of(layer)
    query_of, key_of, value_of = projections_of(layer)
    after_attention = family_of_layer(layer).after_attention
    assert after_attention is not None
    heads, head_size = head_count(layer), attention.attention_head_size
    if not heads:
        return lambda hidden_states, *_, **__: after_attention(layer, hidden_states[:, :1, :0], hidden_states[:, :1])
    owner = torch.arange(heads).repeat_interleave(head_size)  # (width,) which head a column belongs to
    rows = (owner[None, :] == torch.arange(heads)[:, None]).float()  # (heads, width)
    rows = rows.to(query_of.weight.device)
    ones = torch.ones((1, heads), device=rows.device)
    quantizes = isinstance(key_of, QuantizedLinear)

    def forward(
        hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        first = hidden_states[:, :1]  # (batch, 1, width)
        mask_rows = rows.to(hidden_states.dtype)
        query = query_of(first) * attention.scaling * mask_rows  # (batch, heads, attention width)
        if quantizes:
            scores = query @ key_of(hidden_states).transpose(1, 2)
        else:
            scores = torch.matmul(query, key_of.weight) @ hidden_states.transpose(1, 2)  # (batch, heads, length)
        if attention_mask is not None:
            allowed = attention_mask[:, 0, :1]  # (batch, 1, length)
            if allowed.dtype == torch.bool:
                scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
            else:
                scores = scores + allowed
        probabilities = scores.softmax(-1)
        probabilities = nn.functional.dropout(probabilities, attention.dropout.p, attention.training)
        if quantizes:
            value = probabilities @ value_of(hidden_states)
        else:
            mixed = probabilities @ hidden_states  # (batch, heads, width)
            value = torch.matmul(mixed, value_of.weight.t())  # (batch, heads, attention width)
            # dropout may let the probabilities' sum differ from 1
            value = value + value_of.bias * (probabilities.sum(-1, keepdim=True) if attention.training else 1)
        context = ones.to(value.dtype) @ (value * mask_rows)  # (batch, 1, attention width), faster than a sum
        return after_attention(layer, context, first)

    return forward
