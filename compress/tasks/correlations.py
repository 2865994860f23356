"""Correlations as functions of sums over examples, so that one bootstrap serves them too."""

from __future__ import annotations

import numpy as np


def moments(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What a correlation is made of, (examples, 6): 1, x, y, x², y², x y, each about its mean so that sums stay exact."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (answers, targets))
    x, y = x - x.mean(), y - y.mean()
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlation from sums over examples, (..., 6); 0 where one of the two does not vary."""
    count, x, y, xx, yy, xy = (sums[..., index] for index in range(6))
    spreads = np.maximum(xx - x * x / count, 0) * np.maximum(yy - y * y / count, 0)
    shared = xy - x * y / count
    return np.where(spreads > 1e-18, shared / np.sqrt(np.maximum(spreads, 1e-18)), 0.0)


def correlation_statistics(answers: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """For Pearson's and Spearman's correlation what each is made of; the latter is the first of the ranks among all examples.

    Args:
        answers: (examples,).
        targets: (examples,).
    """
    from scipy.stats import rankdata

    return {"pearson": moments(answers, targets), "spearman": moments(rankdata(answers), rankdata(targets))}
