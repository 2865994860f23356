"""Which weights are masked in which step of training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import nn

from compress.pruning.masks import Mask, masked_linears

Importance = Literal["magnitude", "movement", "soft_movement"]
LEAST = 0.005  # of a mask's units always stays, and at least one, as in the code of movement pruning


def removed_by(fraction: float, step: int, total: int, begin: float, end: float) -> float:
    """The fraction that is removed in optimizer step `step` of `total`, counted from 0: none up to `begin`, all of it from
    `end` on, both as fractions of the steps; in between it rises as a cubic, fast at first. The last step has all of it.

    Source: Sanh et al. 2020, arXiv 2005.07683, section 4: v_t = v_f + (v_i - v_f) (1 - (t - t_i) / (N - t_i - t_f))^3 is left.
    """
    done = step / (total - 1) if total > 1 else 1.0
    if done >= end:
        return fraction
    return fraction * (1 - (1 - max(0.0, done - begin) / (end - begin)) ** 3)


def ranked_together(masks: Iterable[Mask], importance: Importance) -> list[list[Mask]]:
    """The masks whose units compete: of each alone, or for soft movement all of a kind, over all layers."""
    if importance != "soft_movement":
        return [[mask] for mask in masks]
    kinds: dict[str, list[Mask]] = {}
    for mask in masks:
        kinds.setdefault(mask.kind, []).append(mask)
    return list(kinds.values())


def count_removed(masks: Iterable[Mask], fraction: float) -> int:
    """How many units of masks that compete go."""
    return units_removed([mask.kept.numel() for mask in masks], fraction)


def units_removed(sizes: Sequence[int], fraction: float) -> int:
    """How many units go of masks that compete and have so many each."""
    return min(round(fraction * sum(sizes)), sum(size - _least(size) for size in sizes))


def _least(size: int) -> int:
    return max(1, round(LEAST * size))


@torch.no_grad()
def set_masks(model: nn.Module, importance: Importance, fraction: float) -> None:
    """Close the least important units of a model's masks, in place, and open all others.

    Args:
        model: Has masks.
        importance: Magnitude ranks units by the norm of their weights, the others by their scores.
        fraction: Of the units that compete.
    """
    linears = masked_linears(model)
    for masks in ranked_together(linears, importance):
        ranks = []
        for mask in masks:
            if mask.scores is None:
                squares = [masked.squares(linear.parametrizations.weight.original) for linear, masked in linears[mask]]
                rank = torch.stack(squares).sum(0).flatten()
            else:
                rank = mask.scores.flatten().clone()
            rank[rank.topk(_least(len(rank)), sorted=False).indices] = torch.inf
            ranks.append(rank)
        kept = torch.ones(sum(map(len, ranks)), device=ranks[0].device)
        kept[torch.cat(ranks).topk(count_removed(masks, fraction), largest=False, sorted=False).indices] = 0
        for mask, part in zip(masks, torch.split(kept, [len(rank) for rank in ranks]), strict=True):
            mask.kept.copy_(part.view_as(mask.kept))


def mean_open(masks: Iterable[Mask]) -> torch.Tensor:
    """The mean of the scores' sigmoids in each mask, and the mean of that over the masks: the penalty of soft movement.

    Source: Sanh et al. 2020, arXiv 2005.07683, section 4 (soft movement pruning).
    """
    return torch.stack([mask.scores.sigmoid().mean() for mask in masks if mask.scores is not None]).mean()
