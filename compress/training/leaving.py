"""How sure an exit has to be: the thresholds at which the fewest layers run while enough answers stay right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.models.exits import NEVER

STARTS = 500
"""Thresholds of the first exit that are tried with all that is best for the others then."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of examples at each exit, the model's own head last.

    Args:
        confidence: How sure each exit is, (exits, examples), from 0 to 1.
        right: Whether each answer is the true one, (exits + 1, examples).
        layers: That have run where an example leaves, (exits + 1,), rising.
    """

    confidence: np.ndarray
    right: np.ndarray
    layers: np.ndarray

    def leaving(self, thresholds: np.ndarray) -> np.ndarray:
        """The number of the exit at which each example leaves, (examples,)."""
        sure = self.confidence > thresholds[:, None]
        return np.where(sure.any(axis=0), sure.argmax(axis=0), len(thresholds))

    def correct(self, thresholds: np.ndarray) -> int:
        """How many answers are right."""
        return int(self.right[self.leaving(thresholds), np.arange(self.right.shape[1])].sum())

    def work(self, thresholds: np.ndarray) -> int:
        """Layers that run for all examples together."""
        return int(self.layers[self.leaving(thresholds)].sum())


def cheapest_thresholds(rows: Rows, max_drop: float) -> np.ndarray:
    """Choose the thresholds, (exits,), at which the fewest layers run on average.

    For each threshold of the first exit the others choose in turn, each what is cheapest with those below it; from the best of
    these all choose anew, the others held, until no choice makes the work less. Of one exit, and of two, that is the cheapest
    of all thresholds there are, where these are no more than are tried.

    Args:
        rows: Of examples that were not learned from.
        max_drop: Fraction of the examples by which fewer may be right than by the model's own head.
    """
    exits, examples = rows.confidence.shape
    never = np.full(exits, NEVER)
    needed = rows.correct(never) - int(max_drop * examples + 1e-9)
    between = _between(np.unique(rows.confidence[0]))
    steps = between[np.unique(np.linspace(0, len(between) - 1, min(len(between), STARTS)).round().astype(int))]
    best = never
    for step in steps:
        choice = never.copy()
        choice[0] = step
        for exit in range(1, exits):
            choice = _with_one_chosen(rows, choice, exit, needed)
        if rows.correct(choice) >= needed and rows.work(choice) < rows.work(best):
            best = choice
    improved = True
    while improved:
        improved = False
        for exit in range(exits):
            choice = _with_one_chosen(rows, best, exit, needed)
            if rows.work(choice) < rows.work(best):
                best, improved = choice, True
    return best


def _between(values: np.ndarray) -> np.ndarray:
    """Thresholds that tell rising values apart, 0 and 1 among them."""
    return np.concatenate([[0.0], _middle(values[:-1], values[1:]), [NEVER]])


def _middle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Thresholds that the high values are above and the low ones are not, in the numbers that a model compares in."""
    middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
    return np.where(middle < high, middle, low)


def _with_one_chosen(rows: Rows, thresholds: np.ndarray, exit: int, needed: int) -> np.ndarray:
    """The thresholds with that of one exit as it is cheapest, the others held."""
    without = thresholds.copy()
    without[exit] = NEVER
    leaving = rows.leaving(without)
    reached = np.flatnonzero((leaving > exit) & (rows.confidence[exit] > 0))  # the others have left, or never do here
    if not len(reached):
        return thresholds
    order = reached[np.argsort(-rows.confidence[exit, reached], kind="stable")]
    sure = rows.confidence[exit, order]
    later = leaving[order]
    gained = rows.right[exit, order].astype(int) - rows.right[later, order]
    right = rows.correct(without) + np.concatenate([[0], np.cumsum(gained)])
    saved = np.concatenate([[0], np.cumsum(rows.layers[later] - rows.layers[exit])])
    apart = np.concatenate([[True], sure[:-1] > sure[1:], [True]])  # numbers of examples that a threshold can let leave
    allowed = np.flatnonzero(apart & (right >= needed))
    if not len(allowed):
        return thresholds
    count = allowed[np.argmax(saved[allowed])]
    chosen = without
    if count == len(order):
        chosen[exit] = 0.0
    elif count:
        chosen[exit] = _middle(sure[count], sure[count - 1])
    return chosen
