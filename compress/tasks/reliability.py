"""Whether probabilities are what they say: of the answers that are given 0.8, eight in ten should be right.

Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, sections 2 (ECE, reliability diagrams)
and 4.2 (temperature scaling).
Differs: of several labels a text, each label's probability is compared with how often it stands, as Nixon et al. 2019, arXiv
1904.01685, do by class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15
"""As in the paper, of equal width."""
COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are tried."""
STEP = 1e-3
"""Of the logarithm of a temperature, for derivatives."""


@dataclass(frozen=True, eq=False)
class Confidence:
    """What probabilities say of some examples.

    Args:
        probabilities: Of what is answered, or of each label where several may stand, (statements,).
        happened: Whether it is true, 0 or 1, or how probable that is, (statements,).
        losses: Minus the logarithm of the probability of what is true, (answers,).
    """

    probabilities: np.ndarray
    happened: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by.

    Args:
        value: The temperature; above 1 it makes answers less sure.
        low: Of its 95 % interval.
        high: Of it.
    """

    value: float
    low: float
    high: float


def confidence_in_labels(logits: np.ndarray, targets: np.ndarray) -> Confidence:
    """Read logits by a softmax.

    Args:
        logits: (answers, labels).
        targets: Ids, (answers,), or probabilities, (answers, labels), of which the likeliest is what is true.
    """
    logs = logits.astype(np.float64)
    logs = logs - logs.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    rows, said = np.arange(len(logs)), logs.argmax(axis=1)
    if targets.ndim == 2:
        true, losses = targets.argmax(axis=1), -(targets * logs).sum(axis=1)
    else:
        true, losses = targets, -logs[rows, targets]
    return Confidence(np.exp(logs[rows, said]), (said == true).astype(np.float64), losses)


def confidence_in_each(logits: np.ndarray, targets: np.ndarray) -> Confidence:
    """Read logits by a sigmoid each.

    Args:
        logits: (examples, labels).
        targets: Marks or probabilities, (examples, labels).
    """
    flat, true = logits.astype(np.float64).ravel(), targets.astype(np.float64).ravel()
    losses = np.logaddexp(0.0, flat) - true * flat
    return Confidence(1 / (1 + np.exp(-np.clip(flat, -700, 700))), true, losses)


def reliability(confidence: Confidence) -> dict[str, Any]:
    """Compute how far probabilities are from what happens.

    Returns:
        ece: The expected calibration error: how far the bins' mean probability is from how often what it says happens, mean
            over all that is said.
        nll: The mean of the losses.
        bins: Those of the 15 with something in them, rising: {stated, happened, count}.
    """
    numbers = np.clip(np.ceil(confidence.probabilities * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    stated, happened = (
        np.bincount(numbers, weights=values, minlength=BINS) / np.maximum(counts, 1)
        for values in (confidence.probabilities, confidence.happened)
    )
    return {
        "ece": float((counts * np.abs(stated - happened)).sum() / max(1, counts.sum())),
        "nll": float(confidence.losses.mean()) if len(confidence.losses) else 0.0,
        "bins": [
            {"stated": float(stated[number]), "happened": float(happened[number]), "count": int(counts[number])}
            for number in np.flatnonzero(counts)
        ],
    }


def best_temperature(confidence_at: Callable[[float], Confidence]) -> Temperature:
    """Find the temperature of the smallest loss, from 0.05 to 20; the loss has one valley, since it is convex in 1 / T.

    The interval is that of an estimator by minimum of a mean (Huber 1967: the sandwich), each answer taken for itself. Where
    every answer is right the loss falls without end; the temperature is then that at which what is true has a mean probability
    of (n + 1) / (n + 2), Laplace's rule of succession, and its interval goes from the coldest one to that of 1 - 3 / n, the
    rule of three.

    Args:
        confidence_at: Says what the answers say whose logits are divided by a temperature.
    """
    from scipy.optimize import minimize_scalar

    def losses_at(log_temperature: float) -> np.ndarray:
        return confidence_at(float(np.exp(log_temperature))).losses

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    best = float(
        minimize_scalar(lambda log: losses_at(log).mean(), bounds=bounds, method="bounded", options={"xatol": 1e-7}).x
    )
    if best < bounds[0] + 0.01 or losses_at(bounds[0]).mean() <= losses_at(best).mean():
        count = len(losses_at(best))
        value, high = (_of_mean_probability(losses_at, share, bounds) for share in ((count + 1) / (count + 2), 1 - 3 / count))
        return Temperature(value, COLDEST, high)
    below, at, above = (losses_at(best + shift) for shift in (-STEP, 0.0, STEP))
    slopes, curvature = (above - below) / (2 * STEP), float((above - 2 * at + below).sum()) / STEP**2
    deviation = float(np.sqrt((slopes**2).sum())) / max(curvature, 1e-12)
    factor = float(np.exp(min(1.96 * deviation, 10.0)))
    return Temperature(float(np.exp(best)), float(np.exp(best)) / factor, float(np.exp(best)) * factor)


def _of_mean_probability(losses_at: Callable[[float], np.ndarray], share: float, bounds: tuple[float, float]) -> float:
    """The temperature at which what is true has this mean probability, or the end that comes nearest to it."""
    from scipy.optimize import brentq

    def beyond(log_temperature: float) -> float:
        return float(np.exp(-losses_at(log_temperature)).mean() - share)

    if beyond(bounds[0]) <= 0 or beyond(bounds[1]) >= 0:
        return float(np.exp(bounds[0] if beyond(bounds[0]) <= 0 else bounds[1]))
    return float(np.exp(brentq(beyond, *bounds)))
