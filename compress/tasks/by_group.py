"""Outputs of a batch's examples as lists, one for each group of examples that are compared with one another."""

from __future__ import annotations

import torch


def by_group(values: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Put values of examples into a row for each group, in the examples' order.

    Args:
        values: (batch, ...).
        groups: The number of the group that each example is of, in any order, (batch,).

    Returns:
        The values, (groups, most, ...), 0 where a group has fewer than the most; and what is no such padding, (groups, most).
    """
    _, rows, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    order = torch.argsort(rows, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    places = torch.arange(len(order), device=order.device) - starts[rows[order]]
    shape = (len(counts), int(counts.max()))
    padded = values.new_zeros(*shape, *values.shape[1:]).index_put((rows[order], places), values[order])
    mask = torch.zeros(shape, dtype=torch.bool, device=values.device).index_put((rows[order], places), places >= 0)
    return padded, mask
