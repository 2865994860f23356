"""Batches of examples of like length, so that almost nothing is padding."""

from __future__ import annotations

import numpy as np

TOKENS = 16_384
"""Of a sorted batch at most, its padding included: 32 texts of 512 tokens."""


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Cut one epoch into batches: sorted by length, ties in random order, the batches shuffled.

    The order is a function of the arguments alone, so that a resumed run continues with the same batches.

    Args:
        lengths: Tokens of each example, (examples,).
        batch_size: Examples per batch; the last of the sorted examples may make a smaller one.
        seed: Of the run.
        epoch: Counted from 0; each has its own order.

    Returns:
        Arrays of example indices; together each index once.
    """
    random = np.random.default_rng((seed, epoch))
    order = np.lexsort((random.random(len(lengths)), lengths))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut all examples into batches of like length, longest first, so that memory runs out at once or never.

    A batch holds `batch_size` examples, or fewer where they are so long that TOKENS would be passed, but one at least.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches = []
    while len(order):
        size = min(batch_size, max(1, TOKENS // max(1, int(lengths[order[0]]))))
        batches.append(order[:size])
        order = order[size:]
    return batches
