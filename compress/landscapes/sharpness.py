"""How sharp the loss is where a model stands: by how much random steps raise it, and the trace of its Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.landscapes.directions import moved, random_direction, signs
from compress.landscapes.loss import SampleLoss, Weights
from compress.landscapes.store import Store

STEPS = 4
"""Radii of the curve around a model: quarters of the largest."""
SURE = 0.05
"""A difference is told where it would be so large by chance in one case of twenty at most."""


@dataclass(frozen=True)
class Estimate:
    """A mean over random draws.

    Args:
        samples: One number for each draw, at least one.
    """

    samples: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the draws."""
        return float(np.mean(self.samples))

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None of a single draw."""
        count = len(self.samples)
        return float(np.std(self.samples, ddof=1) / np.sqrt(count)) if count > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """For landscape.json."""
        return {"mean": self.mean, "standard_error": self.standard_error, "samples": list(self.samples)}


def differ(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the means of two rows of draws differ by more than chance explains (Welch's test, at `SURE`)."""
    from scipy.stats import ttest_ind

    if len(first) < 2 or len(second) < 2:
        return False
    if np.ptp(first) == np.ptp(second) == 0:
        return first[0] != second[0]
    return bool(ttest_ind(first, second, equal_var=False).pvalue < SURE)


def rises(
    loss: SampleLoss,
    weights: Weights,
    *,
    rest: float,
    radius: float,
    directions: int,
    seed: int,
    store: Store,
    what: str,
    key: dict[str, Any],
) -> list[tuple[float, Estimate]]:
    """By how much the loss rises at some radii, each with its estimate over directions, the radius itself last.

    A direction is filter-normalised, so that at a radius of 0.1 every filter is moved by a tenth of its own length. Each is
    gone both ways, and the two rises are averaged, which takes the slope out.

    Args:
        loss: Of weights like these.
        weights: Where the model stands.
        rest: The loss there.
        radius: The largest, above 0.
        directions: How many, at least 1.
        seed: Of the directions.
        store: Keeps what is computed.
        what: For who is told of progress.
        key: Tells model and sample.
    """
    radii = [radius * step / STEPS for step in range(1, STEPS + 1)]
    drawn: dict[int, Weights] = {}

    def at(index: int) -> float:
        number, step = divmod(index, STEPS)
        if number not in drawn:
            drawn.clear()
            drawn[number] = random_direction(weights, seed, number)
        ends = [loss.at(moved(weights, (sign * radii[step], drawn[number]))) for sign in (1, -1)]
        return sum(ends) / 2 - rest

    values = store.numbers(what, {"rises": radii, "seed": seed, **key}, directions * STEPS, at)
    return [(radii[step], Estimate(tuple(values[step::STEPS]))) for step in range(STEPS)]


def trace(
    loss: SampleLoss, weights: Weights, *, probes: int, seed: int, store: Store, what: str, key: dict[str, Any]
) -> Estimate:
    """Estimate the trace of the loss's Hessian by all weights but the zeros of matrices.

    Source: Hutchinson 1989, "A stochastic estimator of the trace of the influence matrix"; of networks: Yao et al. 2020,
    PyHessian, arXiv 1912.07145.

    Args:
        loss: Of weights like these; smooth.
        weights: Where the model stands.
        probes: Random signs, how many, at least 1; the error falls with the root of it.
        seed: Of the probes.
        store: Keeps what is computed.
        what: For who is told of progress.
        key: Tells model and sample.
    """

    def at(index: int) -> float:
        return loss.curvature(weights, signs(weights, seed, index))

    return Estimate(tuple(store.numbers(what, {"trace": "signs", "seed": seed, **key}, probes, at)))
