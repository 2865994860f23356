"""Attention to a window of neighbours and to a few first tokens, in time and memory that grow with the length alone.

The tokens are cut into blocks of half a window. The queries of a block see the keys of their own block and of the two beside
it, of which a band is masked out, so that token i attends to tokens i - window / 2 to i + window / 2: no strided views, no
scattering, and no two-dimensional mask over all tokens, so that runtimes run it as products and additions.

The first tokens are global: every token attends to them, wherever it stands.

Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150, sections 3.1 (sliding window, global attention) and 3.2.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def windowed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, *, window: int, globals_: int,
    dropout: float = 0.0, training: bool = False,
) -> torch.Tensor:  # fmt: skip
    """What each token's attention to its window and to the global tokens answers, (batch, heads, length, head size).

    Args:
        query: Scaled, (batch, heads, length, head size).
        key: The same shape.
        value: The same shape.
        mask: (batch, length), true for tokens.
        window: Tokens that a token sees beside itself, half of them on each side; even.
        globals_: How many first tokens every token sees; at most half of the window.
        dropout: Of the probabilities.
        training: Whether there is dropout.
    """
    half, (batch, heads, length, size) = window // 2, query.shape
    blocks = (length + half - 1) // half
    missing = blocks * half - length
    query, key, value = (functional.pad(one, (0, 0, 0, missing)) for one in (query, key, value))
    query = query.reshape(batch, heads, blocks, half, size)
    near_keys, near_values = (_with_neighbours(one.reshape(batch, heads, blocks, half, size)) for one in (key, value))
    mask = functional.pad(mask, (0, missing))
    local = mask & (torch.arange(blocks * half, device=mask.device) >= globals_)
    near = _with_neighbours(local.reshape(batch, 1, blocks, half, 1).float()) > 0  # (batch, 1, blocks, 3 half, 1)
    steps = torch.arange(3 * half, device=mask.device) - torch.arange(half, device=mask.device)[:, None]
    allowed = near.transpose(-1, -2) & (steps >= 0) & (steps <= 2 * half)  # (batch, 1, blocks, half, 3 half)
    scores = query @ near_keys.transpose(-1, -2)
    lowest = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~allowed, lowest)
    if globals_:
        told = query @ key[:, :, None, :globals_].transpose(-1, -2)  # (batch, heads, blocks, half, globals)
        scores = torch.cat([told.masked_fill(~mask[:, None, None, None, :globals_], lowest), scores], -1)
    probabilities = functional.dropout(scores.softmax(-1), dropout, training)
    answer: torch.Tensor = probabilities[..., globals_:] @ near_values
    if globals_:
        answer = answer + probabilities[..., :globals_] @ value[:, :, None, :globals_]
    return answer.reshape(batch, heads, blocks * half, size)[:, :, :length]


def _with_neighbours(values: torch.Tensor) -> torch.Tensor:
    """Each block between the one before and the one behind, (batch, heads, blocks, 3 tokens, size)."""
    around = functional.pad(values, (0, 0, 0, 0, 1, 1))
    return torch.cat([around[:, :, :-2], values, around[:, :, 2:]], 3)
