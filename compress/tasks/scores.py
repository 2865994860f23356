"""Scores that are functions of sums over examples, with one paired bootstrap for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compress.measures import lost
from compress.statistics import RESAMPLES, SEED, bootstrap_p, holm, middle_95

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
    """Compute what is lost of a score against a baseline on the same examples: {value, ci95, p}.

    Args:
        score: Larger is better, unless its name says otherwise.
        baseline: The baseline's, (examples, statistics).
        statistics: (examples, statistics).
        metric: The score's name, see `compress.measures.lost`.
    """
    return drop_over_seeds(score, [baseline], [statistics], metric=metric)


def drop_over_seeds(
    score: Score,
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    *,
    metric: str = "",
    same_examples: bool = True,
    same_seeds: bool = True,
) -> dict[str, Any]:
    """Compute what is lost of a score's mean over seeds, with a bootstrap over seeds and over examples: {value, ci95, p}.

    In each resample seeds are drawn with replacement, and examples are, the same ones for every seed; the loss is that of the
    means over the drawn seeds. With one seed on each side examples alone are drawn, and nothing is said of other seeds. A
    handful of seeds varies less in resamples than seeds do: the interval of few is too narrow rather than too wide.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8; seeds as a source of variance:
    Bouthillier et al. 2021, arXiv 2103.03098.

    Args:
        score: Larger is better, unless its name says otherwise.
        before: For each seed (examples, statistics).
        after: Of what is compared with it, for each seed.
        metric: The score's name, see `compress.measures.lost`.
        same_examples: Whether row by row both are about the same examples, which are then drawn together (paired).
        same_seeds: Whether the two have the same seeds in the same order, which are then drawn together.
    """
    if same_examples:
        drawn = resampled_sums(np.concatenate([*before, *after], axis=1))
        ends = np.cumsum([statistics.shape[1] for statistics in (*before, *after)])[:-1]
        sums = np.split(drawn, ends, axis=1)
        sums_before, sums_after = sums[: len(before)], sums[len(before) :]
    else:
        sums_before, sums_after = (
            np.split(resampled_sums(np.concatenate(group, axis=1), seed), len(group), axis=1)
            for group, seed in ((before, SEED), (after, SEED + 1))
        )
    resamples = min(len(sums_before[0]), len(sums_after[0]))
    random = np.random.default_rng(SEED)
    seeds = random.integers(0, len(before), (resamples, len(before)))
    others = seeds if same_seeds and len(before) == len(after) else random.integers(0, len(after), (resamples, len(after)))
    means = [
        np.take_along_axis(np.stack([score(own[:resamples]) for own in group], axis=1), chosen, axis=1).mean(1)
        for group, chosen in ((sums_before, seeds), (sums_after, others))
    ]
    whole = [float(np.mean([score(statistics.sum(0)) for statistics in group])) for group in (before, after)]
    losses = lost(metric, *means)
    return {"value": float(lost(metric, *whole)), "ci95": list(middle_95(losses)), "p": bootstrap_p(losses)}


def correct_together(drops: Sequence[dict[str, Any]]) -> None:
    """Note in each drop its p by Holm's correction over all of them, as `p_holm`; one without a p is left out."""
    judged_by_p = [entry for entry in drops if entry.get("p") is not None]
    for entry, p_value in zip(judged_by_p, holm([entry["p"] for entry in judged_by_p]), strict=True):
        entry["p_holm"] = p_value


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


def share(sums: np.ndarray) -> np.ndarray:
    """The first statistic over the second, such as right answers over all."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


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
