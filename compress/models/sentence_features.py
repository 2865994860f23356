"""What a head reads of one sentence or of two."""

from __future__ import annotations

import torch


def part_masks(attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None, *, pairs: bool) -> torch.Tensor:
    """Which tokens belong to which sentence, (batch, sentences, length), of the mask's type.

    Args:
        attention_mask: 1 for a token, 0 for padding, (batch, length).
        token_type_ids: 0 for the first sentence and 1 for the second, (batch, length).
        pairs: Whether there are two sentences.
    """
    if not pairs:
        return attention_mask[:, None]
    second = torch.zeros_like(attention_mask) if token_type_ids is None else token_type_ids * attention_mask
    return torch.stack([attention_mask - second, second], 1)


def sentence_features(states: torch.Tensor) -> torch.Tensor:
    """A sentence's state as it is; for two, [h1; h2; h1 * h2; |h1 - h2|].

    Source: Tang et al. 2019, arXiv 1903.12136, section 3.1 (after Conneau et al. 2017, InferSent).

    Args:
        states: (batch, sentences, width).

    Returns:
        (batch, width) or (batch, 4 * width).
    """
    if states.shape[1] == 1:
        return states[:, 0]
    first, second = states.unbind(1)
    return torch.cat([first, second, first * second, (first - second).abs()], -1)


def feature_count(width: int, *, pairs: bool) -> int:
    """The width of what `sentence_features` returns."""
    return 4 * width if pairs else width
