"""Losses of vectors on what is known of pairs of texts."""

from __future__ import annotations

import torch
from torch.nn import functional

from compress.errors import InputError


def parted(
    outputs: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Part a batch's vectors into the first and the second texts of its pairs, and those that have no pair.

    Args:
        outputs: (batch, dimensions).
        targets: The number of each one's pair, whether it is the second text, and the pair's score or NaN, (batch, 3).

    Returns:
        First texts (pairs, dimensions), second ones, those without a pair, and the scores (pairs,), None where there are none.

    Raises:
        InputError: There are no pairs.
    """
    numbers, is_second = targets[:, 0].long(), targets[:, 1] > 0.5
    _, place, counts = torch.unique(numbers, return_inverse=True, return_counts=True)
    is_paired = counts[place] == 2
    if not bool(is_paired.any()):
        raise InputError(
            "the texts to learn from have no pairs, so that labels teach nothing; use the objectives vectors or similarities."
        )
    ordered = torch.argsort(numbers, stable=True)
    firsts, seconds = (ordered[(is_paired & side)[ordered]] for side in (~is_second, is_second))
    grades = targets[firsts, 2]
    vectors = functional.normalize(outputs.float(), dim=-1)
    return vectors[firsts], vectors[seconds], vectors[~is_paired], None if bool(grades.isnan().any()) else grades


def contrastive(first: torch.Tensor, second: torch.Tensor, others: torch.Tensor, scale: float) -> torch.Tensor:
    """Compute the cross-entropy of finding each first text's second one among all second ones of the batch.

    Source: Henderson et al. 2017, arXiv 1705.00652, section 4.4; the scale of cosines is that of sentence-transformers'
    MultipleNegativesRankingLoss.

    Args:
        first: Of a length of 1, (pairs, dimensions).
        second: (pairs, dimensions).
        others: Further texts that are nobody's second one, (others, dimensions).
        scale: Of the cosines; larger looks at the nearest wrong text alone.
    """
    scores = scale * first @ torch.cat([second, others]).T  # (pairs, pairs + others)
    return functional.cross_entropy(scores, torch.arange(len(first), device=first.device))


def in_order(first: torch.Tensor, second: torch.Tensor, grades: torch.Tensor, scale: float) -> torch.Tensor:
    """Compute log(1 + the sum of exp(scale (cos_j - cos_i))) over all pairs i, j of which i has the higher score.

    Source: Su Jianlin 2022, CoSENT, https://kexue.fm/archives/8847, equation 9.

    Args:
        first: Of a length of 1, (pairs, dimensions).
        second: (pairs, dimensions).
        grades: (pairs,).
        scale: Of the cosines.
    """
    said = scale * (first * second).sum(-1)
    wrong = (said[None, :] - said[:, None])[grades[:, None] > grades[None, :]]  # cos_j - cos_i
    return torch.cat([wrong.new_zeros(1), wrong]).logsumexp(0)
