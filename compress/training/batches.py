"""Batches of examples of like length, so that almost nothing is padding."""

from __future__ import annotations

import numpy as np

TOKENS = 16_384
"""Of a sorted batch at most, its padding included: 32 texts of 512 tokens."""


def epoch_batches(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Cut one epoch into batches: sorted by length, ties in random order, the batches shuffled.

    The order is a function of the arguments alone, so that a resumed run continues with the same batches.

    Args:
        lengths: Tokens of each example, (examples,).
        batch_size: Examples per batch; the last of the sorted examples may make a smaller one. Where groups differ in size, it
            is what a batch has on average.
        seed: Of the run.
        epoch: Counted from 0; each has its own order.
        groups: The number of the group that each example is of, rising from 0, (examples,): a group is never divided, and has
            the length of its longest example. None where each example stands for itself.

    Returns:
        Arrays of example indices; together each index once.
    """
    random = np.random.default_rng((seed, epoch))
    units = _Groups(lengths, batch_size, groups) if groups is not None and len(groups) else None
    longest, size = (lengths, batch_size) if units is None else (units.longest, units.size)
    order = np.lexsort((random.random(len(longest)), longest))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    batches = [batches[index] for index in random.permutation(len(batches))]
    return batches if units is None else units.examples(batches)


class _Groups:
    """Groups of neighbours as what is put into batches.

    Args:
        lengths: Tokens of each example, (examples,).
        batch_size: Examples per batch.
        groups: The number of each one's group, rising from 0, (examples,).
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, groups: np.ndarray) -> None:
        self.starts = np.flatnonzero(np.diff(groups, prepend=-1))
        self.ends = np.append(self.starts[1:], len(groups))
        self.longest = np.maximum.reduceat(lengths, self.starts)
        self.size = max(1, batch_size * len(self.starts) // len(groups))

    def examples(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """The examples of batches of groups, rising in each."""
        return [
            np.concatenate([np.arange(self.starts[group], self.ends[group]) for group in np.sort(batch)]) for batch in batches
        ]


def share_of(indices: np.ndarray, rank: int, processes: int, groups: np.ndarray | None = None) -> np.ndarray:
    """What one of several processes takes of a batch: every example in turn, or every group; may be nothing."""
    if groups is None:
        return indices[rank::processes]
    return indices[np.isin(groups[indices], np.unique(groups[indices])[rank::processes])]


def sorted_batches(
    lengths: np.ndarray, batch_size: int, groups: np.ndarray | None = None, *, tokens: int | None = None
) -> list[np.ndarray]:
    """Cut all examples into batches of like length, longest first, so that memory runs out at once or never.

    A batch holds `batch_size` examples, or fewer where they are so long that `tokens`, or TOKENS, would be passed, but one at
    least; of examples in groups, which a loss compares, whole groups of about so many.
    """
    if groups is not None and len(groups):
        units = _Groups(lengths, batch_size, groups)
        return units.examples(sorted_batches(units.longest, units.size))
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches = []
    while len(order):
        size = min(batch_size, max(1, (tokens or TOKENS) // max(1, int(lengths[order[0]]))))
        batches.append(order[:size])
        order = order[size:]
    return batches


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """A seed of 32 bits, which are all that torch's generator on the CPU reads."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])
