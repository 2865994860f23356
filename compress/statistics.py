"""What a measured number is worth: intervals, tests, percentiles. Each function says its formula and source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
SEED = 13


def wilson_interval(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the score interval of a proportion, such as an accuracy, as scipy does.

    With p = right / total, n = total and z the normal quantile: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        right: Answers that are right, 0 to `total`.
        total: Answers, at least 1.
        confidence: How often such intervals hold the true proportion, 0 to 1.

    Returns:
        Lower and upper end, fractions within 0 to 1.

    Raises:
        ValueError: The counts make no proportion.
    """
    from scipy.stats import binomtest

    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} right of {total} is no proportion; 0 <= right <= total and total >= 1 are needed.")
    interval = binomtest(right, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_counts(baseline_right: np.ndarray, right: np.ndarray) -> tuple[int, int, int]:
    """Count over the same examples: only the baseline right, only the other right, all examples.

    Raises:
        ValueError: The two are not judged on the same, at least one, examples.
    """
    baseline_right, right = np.asarray(baseline_right, dtype=bool), np.asarray(right, dtype=bool)
    if baseline_right.shape != right.shape or right.ndim != 1 or not len(right):
        raise ValueError(f"answers of shapes {baseline_right.shape} and {right.shape} cannot be paired.")
    return int((baseline_right & ~right).sum()), int((right & ~baseline_right).sum()), len(right)


def paired_drop_interval(
    lost: int, won: int, total: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of an accuracy drop, both models judged on the same examples.

    Examples are drawn with replacement, each with both models' answers; the drop of a resample is (lost - won) / total,
    and the interval runs from the 2.5th to the 97.5th percentile of the drops. The drop depends on three counts alone
    (lost, won, the rest), whose joint distribution under resampling is multinomial, so they are drawn directly.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile interval).

    Args:
        lost: Examples that only the baseline answers right.
        won: Examples that only the other model answers right.
        total: All examples.
        resamples: How many; more make the ends steadier.
        seed: Of the draws.

    Returns:
        Lower and upper end as fractions; positive is worse than the baseline.
    """
    shares = [lost / total, won / total, (total - lost - won) / total]
    draws = np.random.default_rng(seed).multinomial(total, shares, size=resamples)  # (resamples, 3)
    return middle_95((draws[:, 0] - draws[:, 1]) / total)


def f1_resamples(labels: np.ndarray, *answers: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Draw bootstrap resamples of the F1 of label 1, for several models judged on the same examples.

    Examples are drawn with replacement, each with its label and every model's answer. Which of the cells of (label, answers)
    an example falls into is all that matters, so the cells' counts are drawn directly, from a multinomial distribution.

    Source: as `paired_drop_interval`; F1 = 2 TP / (2 TP + FP + FN), 0 where that has no value.

    Args:
        labels: 0 or 1, (examples,).
        answers: 0 or 1 of each model, (examples,).
        resamples: How many; more make percentiles steadier.
        seed: Of the draws.

    Returns:
        (models, resamples), fractions.
    """
    columns = np.stack([np.asarray(column) == 1 for column in (labels, *answers)])  # (1 + models, examples)
    cells, counts = np.unique(columns, axis=1, return_counts=True)  # (1 + models, cells), (cells,)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=resamples)  # (resamples, cells)
    truth, predicted = cells[0], cells[1:]
    right, wrong = (
        drawn @ (kind.T.astype(np.int64)) for kind in (predicted & truth, predicted ^ truth)
    )  # (resamples, models)
    return np.asarray((2 * right / np.maximum(2 * right + wrong, 1)).T)


def middle_95(draws: np.ndarray) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of the draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def mcnemar_p(lost: int, won: int) -> float:
    """Compute the exact two-sided p of McNemar's test: are two models equally often right where only one is?

    Under that hypothesis `lost` follows a binomial distribution of lost + won draws at one half; p is the probability
    of a split at least as uneven. 1 when the two are never right apart.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947); the exact form in Fagerland et al., BMC Medical Research Methodology 13:91 (2013), equation 2.
    """
    from scipy.stats import binomtest

    if lost + won == 0:
        return 1.0
    return float(binomtest(min(lost, won), lost + won, 0.5).pvalue)


def spread_of_means(*groups: np.ndarray) -> float | None:
    """Compute the half width of the 95 % interval of a mean, or of the difference of two, by Student's t.

    t sqrt(sum of s²/n), with Welch's degrees of freedom. None where a group has fewer than two numbers, whose spread nobody
    knows. Of logarithms, such as those of latencies, its exponential is the factor that an interval goes up and down by.

    Source: Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34 (1947).

    Args:
        groups: Numbers that scatter for themselves, such as the medians of rounds.
    """
    from scipy.stats import t

    if any(len(group) < 2 for group in groups):
        return None
    parts = [float(np.var(group, ddof=1)) / len(group) for group in groups]
    if not sum(parts):
        return 0.0
    freedom = sum(parts) ** 2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    return float(t.ppf(0.975, freedom) * sum(parts) ** 0.5)


def bootstrap_p(draws: np.ndarray) -> float:
    """Compute a two-sided p from bootstrap draws of a difference: how likely is it to lie on the other side of 0?

    With B draws, of which b lie at or beyond 0 on the rarer side, it is 2 (b + 1) / (B + 1), at most 1; so it is never 0.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 4.4.

    Args:
        draws: Of the difference, (resamples,).
    """
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return float(min(1.0, 2 * (rarer + 1) / (len(draws) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p of several comparisons, so that "any of them below 0.05" is wrong in at most 5 % of all cases.

    The smallest of m is multiplied by m, the next one by m - 1, and so on; none is below one before it, none above 1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

    Args:
        p_values: One for each comparison, of any number.

    Returns:
        The adjusted ones, in the order given.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def percentile(samples: Sequence[float], percent: float) -> float:
    """Read a percentile off the sorted samples, interpolating linearly between neighbours.

    Source: Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996), type 7.

    Args:
        samples: At least one number.
        percent: 0 to 100.
    """
    return float(np.percentile(np.asarray(samples, dtype=np.float64), percent))
