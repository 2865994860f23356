"""Scores that are functions of sums over examples, with one paired bootstrap for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compress.measures import lost
from compress.statistics import RESAMPLES, SEED, middle_95

Score = Callable[[np.ndarray], np.ndarray]
"""From sums, (..., statistics), to the score, (...)."""
MANY_CELLS, FEWER_RESAMPLES = 500, 2_000
AT_ONCE = 1 << 22


def resampled_sums(statistics: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Sum what is known of each example over bootstrap resamples of the examples.

    Examples that are alike in all statistics are drawn together, from a multinomial distribution, which is the same as drawing
    them one by one. 10,000 resamples; 2,000 where more than 500 examples are unlike.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    Args:
        statistics: (examples, statistics).
        seed: Of the draws.

    Returns:
        (resamples, statistics).
    """
    cells, counts = np.unique(statistics, axis=0, return_counts=True)
    resamples = RESAMPLES if len(cells) <= MANY_CELLS else FEWER_RESAMPLES
    random, shares = np.random.default_rng(seed), counts / counts.sum()
    at_once = max(1, AT_ONCE // len(cells))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([random.multinomial(counts.sum(), shares, size=size) @ cells for size in sizes])


def judged(scores: Mapping[str, Score], statistics: np.ndarray) -> dict[str, Any]:
    """Compute scores with their 95 % bootstrap intervals: `metrics` and `metrics_ci95`.

    Args:
        scores: By name, the one that decides first.
        statistics: (examples, statistics).
    """
    whole, drawn = statistics.sum(0), resampled_sums(statistics)
    return {
        "metrics": {name: float(score(whole)) for name, score in scores.items()},
        "metrics_ci95": {name: list(middle_95(score(drawn))) for name, score in scores.items()},
    }


def drop(score: Score, baseline: np.ndarray, statistics: np.ndarray, *, metric: str = "") -> dict[str, Any]:
    """Compute what is lost of a score against a baseline on the same examples: {value, ci95, p}; `p` is None.

    Args:
        score: Larger is better, unless its name says otherwise.
        baseline: The baseline's, (examples, statistics).
        statistics: (examples, statistics).
        metric: The score's name, see `compress.measures.lost`.
    """
    count = baseline.shape[1]
    drawn = resampled_sums(np.concatenate([baseline, statistics], axis=1))
    value = float(lost(metric, score(baseline.sum(0)), score(statistics.sum(0))))
    return {"value": value, "ci95": list(middle_95(lost(metric, score(drawn[:, :count]), score(drawn[:, count:])))), "p": None}


def by_label(names: Sequence[str], statistics: np.ndarray) -> dict[str, dict[str, Any]]:
    """Compute each label's precision, recall and F1 with 95 % bootstrap intervals, all from the same resamples.

    Args:
        names: The labels'.
        statistics: Of each example and label how often it was answered rightly, answered, and true, (examples, labels, 3).

    Returns:
        For each label {precision, recall, f1, ci95: {precision, recall, f1}, support}; `support` is how often it is true. A
        score that has no value, such as the recall of what is never true, is None, and so is its interval.
    """
    drawn = resampled_sums(statistics.reshape(len(statistics), -1)).reshape(-1, len(names), 3)
    whole = statistics.sum(0)
    return {name: _of_label(whole[index], drawn[:, index]) for index, name in enumerate(names)}


def _of_label(sums: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    has_value = {name: bool(sums[counted].any()) for name, counted in _COUNTED.items()}
    return {
        **{name: float(score(sums)) if has_value[name] else None for name, score in LABEL_SCORES.items()},
        "ci95": {name: list(middle_95(score(drawn))) if has_value[name] else None for name, score in LABEL_SCORES.items()},
        "support": int(sums[2]),
    }


def first(name: str, scores: Mapping[str, Score]) -> dict[str, Score]:
    """The same scores, the one that decides first."""
    return {name: scores[name], **scores}


def f1(right: np.ndarray, answered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """2 TP / (answered + true), 0 where nothing is either."""
    return 2 * right / np.maximum(answered + true, 1)


LABEL_SCORES: Mapping[str, Score] = {
    "precision": lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1),
    "recall": lambda sums: sums[..., 0] / np.maximum(sums[..., 2], 1),
    "f1": lambda sums: f1(sums[..., 0], sums[..., 1], sums[..., 2]),
}
"""From how often a label was answered rightly, answered, and true, (..., 3)."""
_COUNTED: Mapping[str, list[int]] = {"precision": [1], "recall": [2], "f1": [1, 2]}
"""What must not be nothing for a score to have a value."""
