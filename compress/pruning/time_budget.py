"""Which structure loses least within a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.benchmark.block_times import BlockTimes, LayerShape
from compress.errors import InputError

BUCKETS = 2000
DROPPED: LayerShape = (0, 0)


@dataclass(frozen=True)
class Losses:
    """What each size of a layer's parts loses: from number of heads, and of neurons, to an error from 0 to 1."""

    heads: dict[int, float]
    neurons: dict[int, float]

    @property
    def shapes(self) -> list[LayerShape]:
        """Every shape that the layer may take; without heads and neurons it goes as a whole, norms included."""
        return [(heads, neurons) for heads in self.heads for neurons in self.neurons]


def fastest_ms(times: BlockTimes) -> float:
    """What the smallest model takes: a layer with one head, without which the classifier would see the first token alone."""
    return times.model_ms([(1, 0)])


class Budget:
    """The structures of least weighted loss that keep to a time.

    A dynamic programme over the layers and the time that is spent, in buckets that costs are rounded up to, so that the time
    is kept. Each layer in turn is tried as the last one that stays, since the last one has times of its own.

    Source: Kurtic, Frantar and Alistarh 2023, ZipLM, arXiv 2302.04089, section 3.2; the programme is that of Frantar and
    Alistarh 2022, SPDY, arXiv 2201.13096, section 3.2.
    Differs: a layer's attention and feed-forward part are chosen together, so that leaving out both leaves out the layer.

    Args:
        losses: Of each layer.
        times: The table.
        budget_ms: What the model may take.

    Raises (when made):
        InputError: Nothing is that fast.
    """

    def __init__(self, losses: Sequence[Losses], times: BlockTimes, budget_ms: float) -> None:
        self.losses = losses
        spent = times.room_ms(budget_ms) / BUCKETS
        if budget_ms < fastest_ms(times) or spent <= 0:
            raise InputError(f"{budget_ms:.3g} ms is less than {fastest_ms(times):.3g} ms; ask for more.")
        self.shapes = [layer.shapes for layer in losses]
        self.middle = [
            _buckets([0.0 if shape == DROPPED else times.layer_ms(shape) for shape in shapes], spent) for shapes in self.shapes
        ]
        self.last = [
            _buckets([times.layer_ms(shape, last=True) if shape[0] else np.inf for shape in shapes], spent)
            for shapes in self.shapes
        ]

    def best(self, weights: np.ndarray) -> list[LayerShape]:
        """The shape of each layer, where a layer's losses in attention and feed-forward part count `weights`, (layers, 2)."""
        losses = [
            np.array([weight[0] * table.heads[heads] + weight[1] * table.neurons[neurons] for heads, neurons in shapes])
            for table, shapes, weight in zip(self.losses, self.shapes, weights, strict=True)
        ]
        dropped = [
            loss[shapes.index(DROPPED)] if DROPPED in shapes else np.inf
            for loss, shapes in zip(losses, self.shapes, strict=True)
        ]
        so_far = np.zeros(BUCKETS + 1)  # the least loss of the layers below within each time
        chosen: list[np.ndarray] = []
        ends: list[tuple[float, int]] = []
        for layer, (loss, middle, last) in enumerate(zip(losses, self.middle, self.last, strict=True)):
            closing = _spend(so_far, np.array([BUCKETS]), loss, last)[:, 0]
            ends.append((float(closing.min()) + float(sum(dropped[layer + 1 :])), int(closing.argmin())))
            totals = _spend(so_far, np.arange(BUCKETS + 1), loss, middle)
            chosen.append(totals.argmin(0))
            so_far = totals.min(0)
        end = min(range(len(ends)), key=lambda layer: ends[layer][0])
        return self._traced(chosen, end, ends[end][1])

    def _traced(self, chosen: Sequence[np.ndarray], end: int, shape: int) -> list[LayerShape]:
        structure = [DROPPED] * len(self.shapes)
        structure[end] = self.shapes[end][shape]
        left = BUCKETS - int(self.last[end][shape])
        for layer in range(end - 1, -1, -1):
            index = int(chosen[layer][left])
            structure[layer] = self.shapes[layer][index]
            left -= int(self.middle[layer][index])
        return structure


def _buckets(times_ms: Sequence[float], bucket_ms: float) -> np.ndarray:
    """How many buckets each time fills, rounded up; more than there are where it is longer than all of them."""
    return np.minimum(np.ceil(np.array(times_ms) / bucket_ms - 1e-9), BUCKETS + 1).astype(np.int64)


def _spend(so_far: np.ndarray, times: np.ndarray, loss: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """The loss of each shape within each time, (shapes, times)."""
    left = times[None, :] - costs[:, None]
    totals: np.ndarray = np.where(left >= 0, so_far[np.maximum(left, 0)], np.inf) + loss[:, None]
    return totals
