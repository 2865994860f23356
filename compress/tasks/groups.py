"""Cut a data set by groups of kin, so that no part can tell of another; and tell how far one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.tasks.cutting import cut, row_order
from compress.tasks.kin import Kin, find_kin
from compress.tasks.split import Role, Split

MOST_OF_ROWS, FEWEST_ROWS_OF_MOST = 0.01, 10
"""A group grows to this part of the rows, or to so many where that is less; copies of one row stay together whatever they are.
What links it to more is cut: a sentence that stands in hundreds of rows makes no part of them."""
MOST_LEFT_OUT = 0.1
"""Rows that are kin of a part kept apart are left out while they are no more than this part of all: where most rows are kin of
most others, such as lines of a log, no cut takes them apart."""
MOST_OFF = 0.5


class Grouped:
    """Rows with their kin and the group of each.

    Args:
        texts: Of the rows.
        pairs: Their second texts.
        shared: So many first rows are cut into parts; the others are a part of their own already.
    """

    def __init__(self, texts: Sequence[str], pairs: Sequence[str] | None, shared: int | None = None) -> None:
        self.texts, self.pairs = texts, pairs
        self.kin = find_kin([texts] if pairs is None else [texts, pairs])
        order = row_order(texts, pairs, "group")
        rows, shared = np.arange(len(texts)), len(texts) if shared is None else shared
        self.leaders = np.concatenate([lead(self.kin, part, order) for part in (rows[:shared], rows[shared:])])

    def cut(self, rows: np.ndarray, purpose: str, *shares: float) -> list[np.ndarray]:
        """Cut rows into one part per share and the rest, groups whole; see `compress.tasks.cutting.cut`.

        Where groups are so large or few that a part is off by more than half, all are filled by the groups' ranks.
        """
        order = row_order(self.texts, self.pairs, purpose)[self.leaders[rows]]
        parts = cut(order, *shares)
        off = max(abs(len(part) / len(rows) / share - 1) for part, share in zip(parts, shares, strict=False))
        if off > MOST_OFF and len(np.unique(order)) < len(rows):
            parts = cut(_middles(order), *shares)
        return [rows[part] for part in parts]

    def taken_apart(self, *parts: np.ndarray) -> tuple[list[np.ndarray], int]:
        """Leave rows out of later parts that are kin of rows in earlier ones.

        Returns:
            The parts, and how many rows were left out; none are where they would be more than MOST_LEFT_OUT.
        """
        kept = [parts[0]]
        for part in parts[1:]:
            kept.append(part[~self.kin.touches(part, np.concatenate(kept))])
        left_out = sum(map(len, parts)) - sum(map(len, kept))
        if left_out > MOST_LEFT_OUT * sum(map(len, parts)):
            return list(parts), 0
        return kept, left_out

    def figures(self, parts: Mapping[Role, np.ndarray]) -> dict[str, dict[str, Any]]:
        """Count the groups of each part, and of each but the training part the share that is kin of a training row: `leak`."""
        figures: dict[str, dict[str, Any]] = {}
        for role, rows in parts.items():
            figures[role] = {"groups": len(np.unique(self.leaders[rows]))}
            if role != "train" and len(rows):
                figures[role]["leak"] = round(float(self.kin.touches(rows, parts["train"]).mean()), 4)
        return figures


def _middles(order: np.ndarray) -> np.ndarray:
    """For each row where the middle of its group is among all rows, between 0 and 1."""
    _, group, sizes = np.unique(order, return_inverse=True, return_counts=True)
    middles: np.ndarray = ((np.cumsum(sizes) - sizes / 2) / len(order))[group]
    return middles


def figures_of(splits: Sequence[Split]) -> dict[str, dict[str, Any]]:
    """The same of parts that were cut already."""
    texts = [text for split in splits for text in split.texts]
    pairs = [pair for split in splits for pair in split.pairs or ()]
    ends = np.cumsum([len(split) for split in splits])
    numbers = np.split(np.arange(len(texts)), ends[:-1])
    grouped = Grouped(texts, pairs if len(pairs) == len(texts) else None)
    return grouped.figures({split.role: rows for split, rows in zip(splits, numbers, strict=True)})


def lead(kin: Kin, rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Choose for each row the row that leads its group, by their texts alone, (rows,).

    Links are taken in the order of their lengths, the longest first, so that a group that is full has lost the shortest. A row
    that is too short to be kin of any goes with the one group in which it stands, and nowhere where there are several.

    Args:
        kin: Of these rows and maybe of others.
        rows: To be grouped.
        order: A number for each row, like texts alike; the least of a group leads it.
    """
    union = _Union(order, max(FEWEST_ROWS_OF_MOST, int(MOST_OF_ROWS * len(rows))))
    mentions = kin.mentions_of(rows)
    pairs = np.stack([kin.texts[mentions], kin.rows[mentions]], axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], order[pairs[:, 1]], pairs[:, 0]))]
    same = pairs[1:, 0] == pairs[:-1, 0]
    firsts = np.full(len(kin.weights), -1, dtype=np.int64)
    firsts[pairs[::-1, 0]] = pairs[::-1, 1]
    links = kin.links[(firsts[kin.links] >= 0).all(axis=1)]
    edges = np.concatenate(
        [
            np.stack([kin.weights[pairs[1:, 0][same]], pairs[:-1, 1][same], pairs[1:, 1][same]], axis=1),
            np.stack([kin.weights[links[:, 0]], firsts[links[:, 0]], firsts[links[:, 1]]], axis=1),
        ]
    )
    ranks = (order[edges[:, 2]], order[edges[:, 1]], -edges[:, 0])
    whole = kin.weights.max(initial=0)
    for weight, row, other in edges[np.lexsort(ranks)].tolist():
        union.join(row, other, always=weight == whole)
    _place_short(kin, pairs, union)
    return np.array([union.find(row) for row in rows.tolist()], dtype=np.int64)


def _place_short(kin: Kin, pairs: np.ndarray, union: _Union) -> None:
    """Let a short row go with the one group in which it stands."""
    wanted = set(kin.within[:, 1].tolist())
    groups: dict[int, set[int]] = {}
    for text, row in pairs.tolist():
        if text in wanted:
            groups.setdefault(text, set()).add(union.find(row))
    own = set(pairs[:, 1].tolist())
    around: dict[int, set[int]] = {}
    for row, text in kin.within.tolist():
        if row in own:
            around.setdefault(row, set()).update(groups.get(text, ()))
    for row, leaders in around.items():
        if len(leaders) == 1:
            union.join(row, leaders.pop())


class _Union:
    """Sets of rows that are joined, each led by the row with the least number."""

    def __init__(self, order: np.ndarray, most: int) -> None:
        self.leads = list(range(len(order)))
        self.sizes = [1] * len(order)
        self.order = order.tolist()
        self.most = most

    def find(self, row: int) -> int:
        """The row that leads a row's set."""
        while self.leads[row] != row:
            self.leads[row] = row = self.leads[self.leads[row]]
        return row

    def join(self, row: int, other: int, *, always: bool = False) -> None:
        """Make one set of two, unless it would be too large."""
        first, second = sorted((self.find(row), self.find(other)), key=lambda row: (self.order[row], row))
        size = self.sizes[first] + self.sizes[second]
        if first != second and (always or size <= self.most):
            self.leads[second] = first
            self.sizes[first] = size
