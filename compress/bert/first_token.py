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

from compress.bert.layout import attention_of, encoder_layers, reads_first_token_only
from compress.bert.quantizers import QuantizedLinear


@contextlib.contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer compute its first token only, where the head reads no other; elsewhere change nothing.

    Inside, `last_hidden_state` is (batch, 1, width). Weights and names stay as they are.
    """
    layer: Any = encoder_layers(model)[-1]
    if not reads_first_token_only(model) or "forward" in vars(layer):  # the latter: it does already
        yield
        return
    layer.forward = _first_token_forward(layer)
    try:
        yield
    finally:
        del layer.forward


def _first_token_forward(layer: Any) -> Callable[..., torch.Tensor]:
    attention = attention_of(layer)
    heads, head_size = attention.num_attention_heads, attention.attention_head_size
    owner = torch.arange(heads).repeat_interleave(head_size)  # (width,) which head a column belongs to
    rows = (owner[None, :] == torch.arange(heads)[:, None]).float()  # (heads, width)
    rows = rows.to(attention.query.weight.device)
    ones = torch.ones((1, heads), device=rows.device)
    quantizes = isinstance(attention.key, QuantizedLinear)

    def forward(
        hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        first = hidden_states[:, :1]  # (batch, 1, width)
        mask_rows = rows.to(hidden_states.dtype)
        query = attention.query(first) * attention.scaling * mask_rows  # (batch, heads, attention width)
        if quantizes:
            scores = query @ attention.key(hidden_states).transpose(1, 2)
        else:
            scores = torch.matmul(query, attention.key.weight) @ hidden_states.transpose(1, 2)  # (batch, heads, length)
        if attention_mask is not None:
            allowed = attention_mask[:, 0, :1]  # (batch, 1, length)
            if allowed.dtype == torch.bool:
                scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
            else:
                scores = scores + allowed
        probabilities = scores.softmax(-1)
        probabilities = nn.functional.dropout(probabilities, attention.dropout.p, attention.training)
        if quantizes:
            value = probabilities @ attention.value(hidden_states)
        else:
            mixed = probabilities @ hidden_states  # (batch, heads, width)
            value = torch.matmul(mixed, attention.value.weight.t())  # (batch, heads, attention width)
            # dropout may let the probabilities' sum differ from 1
            value = value + attention.value.bias * (probabilities.sum(-1, keepdim=True) if attention.training else 1)
        context = ones.to(value.dtype) @ (value * mask_rows)  # (batch, 1, attention width), faster than a sum
        output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(context, first))
        return output

    return forward
