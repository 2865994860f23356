"""Losses along a line between two models, and in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from compress.landscapes.directions import Plane, between, length, moved
from compress.landscapes.loss import SampleLoss, Weights
from compress.landscapes.store import Store

BEFORE, BEHIND = -0.5, 1.5
"""Where lines begin and end: half the way before the first model, and as much behind the second."""
MARGIN = 0.25
"""Of a plane, on each side, as a part of what its models take."""


@dataclass(frozen=True)
class Line:
    """The loss along a line.

    Args:
        alphas: Places, rising; the first model stands at 0, the second at 1, both among them.
        losses: There.
        distance: Between the two, Euclidean, over the weights that the sample reads.
    """

    alphas: list[float]
    losses: list[float]
    distance: float

    @property
    def barrier(self) -> tuple[float, float]:
        """How far the loss rises above the straight line between its two ends at most, 0 where it does not, and where.

        Source: Entezari et al. 2022, arXiv 2110.06296, section 2.
        """
        start, end = self.losses[self.alphas.index(0.0)], self.losses[self.alphas.index(1.0)]
        inside = [(loss - (start + alpha * (end - start)), alpha) for alpha, loss in self._between()]
        return max([(0.0, 0.0), *inside], key=itemgetter(0))

    @property
    def hill(self) -> float:
        """How far the loss rises above the higher one of its two ends, 0 where it does not."""
        return max(loss for _, loss in self._between()) - max(loss for alpha, loss in self._between() if alpha in (0.0, 1.0))

    def _between(self) -> list[tuple[float, float]]:
        return [(alpha, loss) for alpha, loss in zip(self.alphas, self.losses, strict=True) if 0 <= alpha <= 1]

    def as_dict(self) -> dict[str, Any]:
        """For landscape.json."""
        height, place = self.barrier
        return {**self.__dict__, "barrier": height, "barrier_at": place, "hill": self.hill}


def line(loss: SampleLoss, start: Weights, end: Weights, points: int, store: Store, what: str, key: dict[str, Any]) -> Line:
    """Compute the loss from before one model to behind another.

    Args:
        loss: Of weights like these.
        start: At 0.
        end: At 1.
        points: Of the whole line, at least 2; both models are added where they are none of them.
        store: Keeps what is computed.
        what: For who is told of progress.
        key: Tells models and sample.
    """
    alphas = sorted({*np.linspace(BEFORE, BEHIND, points).round(6).tolist(), 0.0, 1.0})
    way = between(start, end)

    def at(index: int) -> float:
        return loss.at(end if alphas[index] == 1 else moved(start, (alphas[index], way)))

    losses = store.numbers(what, {"line": alphas, **key}, len(alphas), at)
    return Line(alphas, losses, length(way))


def grid_of(places: Sequence[tuple[float, float]], points: int) -> tuple[list[float], list[float]]:
    """So many places along each axis, around all models and a margin."""
    axes = []
    for values in zip(*places, strict=True):
        margin = MARGIN * (max(values) - min(values))
        axes.append(np.linspace(min(values) - margin, max(values) + margin, points).tolist())
    return axes[0], axes[1]


def surface(
    loss: SampleLoss, plane: Plane, x: list[float], y: list[float], store: Store, what: str, key: dict[str, Any]
) -> list[list[float]]:
    """Compute the losses of a plane at a grid, (y, x)."""

    def at(index: int) -> float:
        return loss.at(plane.at(x[index % len(x)], y[index // len(x)]))

    losses = store.numbers(what, {"plane": [x, y], **key}, len(x) * len(y), at)
    return [losses[row : row + len(x)] for row in range(0, len(losses), len(x))]
