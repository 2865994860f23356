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

from compress.models.attention.kernel import hiding

HEADS = 3
"""How many are computed at once: few, so that their scores stay in the processor's cache and little memory is held."""


def windowed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    window: int,
    globals_: int,
    dropout: float = 0.0,
    training: bool = False,
) -> torch.Tensor:
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
    half, length = window // 2, query.shape[2]
    blocks = (length + half - 1) // half
    added = hiding(_allowed(mask, blocks, half, globals_), query.dtype)

    def some(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query = torch.unflatten(functional.pad(query, (0, 0, 0, blocks * half - length)), 2, (blocks, half))
        near_keys, near_values = (_near(tensor, blocks, half, globals_) for tensor in (key, value))
        probabilities = (query @ near_keys.transpose(-1, -2) + added).softmax(-1)
        return (functional.dropout(probabilities, dropout, training) @ near_values).flatten(2, 3)

    groups = zip(*(torch.split(tensor, HEADS, 1) for tensor in (query, key, value)), strict=True)
    return torch.cat([some(*group) for group in groups], 1)[:, :, :length]


def _near(values: torch.Tensor, blocks: int, half: int, globals_: int) -> torch.Tensor:
    """What each block sees: the global tokens, the block before, itself and the one behind, (batch, heads, blocks, globals +
    3 half, size)."""
    missing = blocks * half - values.shape[2]
    around = torch.unflatten(functional.pad(values, (0, 0, half, half + missing)), 2, (blocks + 2, half))
    first = [values[:, :, None, :globals_].expand(-1, -1, blocks, -1, -1)] if globals_ else []
    return torch.cat([*first, around[:, :, :-2], around[:, :, 1:-1], around[:, :, 2:]], 3)


def _allowed(mask: torch.Tensor, blocks: int, half: int, globals_: int) -> torch.Tensor:
    """Which of the tokens beside it each token of a block may see, (batch, 1, blocks, half, globals + 3 half)."""
    local = mask & (torch.arange(mask.shape[1], device=mask.device) >= globals_)
    near = _near(local[:, None, :, None].float(), blocks, half, 0).transpose(-1, -2) > 0  # (batch, 1, blocks, 1, 3 half)
    steps = torch.arange(3 * half, device=mask.device) - torch.arange(half, device=mask.device)[:, None]
    allowed = near & (steps >= 0) & (steps <= 2 * half)
    first = [mask[:, None, None, None, :globals_].expand(-1, -1, blocks, half, -1)] if globals_ else []
    return torch.cat([*first, allowed], -1)
