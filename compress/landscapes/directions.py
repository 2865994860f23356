"""Directions in the space of a model's weights: random ones, those to other models, and planes through several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compress.landscapes.loss import Weights

FLAT = 1e-4
"""Of a plane's second direction, as a part of its first: below that the models stand on one line."""


def moved(weights: Weights, *steps: tuple[float, Mapping[str, torch.Tensor]]) -> Weights:
    """The weights after so many times each direction; what a direction does not name stays."""
    there = dict(weights)
    for times, direction in steps:
        if times:
            there |= {name: there[name] + times * step for name, step in direction.items()}
    return there


def free_weights(weights: Weights) -> dict[str, torch.Tensor]:
    """Which weights a random direction moves, by name: those of matrices that are not exactly zero.

    Zeros of a pruned model are a part of it, as its shape is. Biases and the weights of normalizations stay.
    """
    return {name: tensor != 0 for name, tensor in weights.items() if tensor.ndim > 1}


def random_direction(weights: Weights, seed: int, number: int) -> Weights:
    """Draw a direction whose every filter is as long as the filter of the weights that it moves.

    A filter is what makes one number of a Linear's output, or one row of an embedding. The loss at the same multiple of such a
    direction can be compared between models of other scales and widths.

    Source: Li et al. 2018, "Visualizing the loss landscape of neural nets", arXiv 1712.09913, section 4.
    Differs: weights that are zero stay, see `free_weights`.

    Args:
        weights: Where the direction begins.
        seed: Of all directions.
        number: Which one, from 0; each is drawn for itself.
    """
    random, direction = _generator(seed, number), {}
    for name, free in free_weights(weights).items():
        filters = torch.randn(free.shape, generator=random).mul_(free).flatten(1)
        own = weights[name].flatten(1).norm(dim=1, keepdim=True)
        filters *= own / filters.norm(dim=1, keepdim=True).clamp(min=torch.finfo(filters.dtype).tiny)
        direction[name] = filters.view(free.shape)
    return direction


def signs(weights: Weights, seed: int, number: int) -> Weights:
    """Draw 1 or -1 for each weight, and 0 for the zeros of matrices: a probe of Hutchinson's estimate of a trace.

    Args:
        weights: All of them, biases and normalizations too.
        seed: Of all probes.
        number: Which one, from 0.
    """
    random, free = _generator(seed, number), free_weights(weights)
    probe = {name: torch.randint(0, 2, tensor.shape, generator=random) * 2.0 - 1 for name, tensor in weights.items()}
    return {name: tensor * free[name] if name in free else tensor for name, tensor in probe.items()}


def between(start: Weights, end: Weights) -> Weights:
    """The way from one model's weights to another's, biases and normalizations too."""
    return {name: end[name] - tensor for name, tensor in start.items()}


def dot(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> float:
    """The inner product, summed in float64."""
    return sum(float((tensor.double() * second[name].double()).sum()) for name, tensor in first.items())


def length(direction: Mapping[str, torch.Tensor]) -> float:
    """The Euclidean norm."""
    return math.sqrt(dot(direction, direction))


@dataclass(frozen=True)
class Plane:
    """A plane in the space of weights.

    Args:
        origin: The weights at (0, 0).
        across: The first direction; both are of length 1 and at a right angle, or filter-normalised.
        up: The second one.
        places: Where the models stand, (x, y) each.
        explained: Share of what the models differ by that lies in the plane along each direction; None where that is all.
    """

    origin: Weights
    across: Weights
    up: Weights
    places: tuple[tuple[float, float], ...]
    explained: tuple[float, float] | None = None

    def at(self, x: float, y: float) -> Weights:
        """The weights at a place."""
        return moved(self.origin, (x, self.across), (y, self.up))


def plane_through(models: Sequence[Weights]) -> Plane | None:
    """Lay a plane through three models, the first at (0, 0) and the second on the first axis; None where they are on a line.

    Source: Garipov et al. 2018, arXiv 1802.10026 (the planes of its figures).
    """
    first, second, third = models
    across, up = between(first, second), between(first, third)
    along = length(across)
    if not along:
        return None
    across = _times(across, 1 / along)
    shift = dot(across, up)
    up = moved(up, (-shift, across))
    rise = length(up)
    if rise <= FLAT * max(along, abs(shift)):
        return None
    return Plane(first, across, _times(up, 1 / rise), ((0.0, 0.0), (along, 0.0), (shift, rise)))


def principal_plane(models: Sequence[Weights]) -> Plane | None:
    """Lay the plane through the last of several models that the others are nearest to; None where they are on a line.

    Source: Li et al. 2018, arXiv 1712.09913, section 7 (principal components of the differences to the last model).
    Differs: the differences are not centred, so that the last model, where the plane begins, lies in it.
    """
    last, ways = models[-1], [between(models[-1], model) for model in models[:-1]]
    products = np.array([[dot(first, second) for second in ways] for first in ways])  # (models - 1, models - 1)
    values, vectors = np.linalg.eigh(products)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    if len(ways) < 2 or values[1] <= FLAT**2 * values[0]:
        return None
    axes, places = [], []
    for value, vector in zip(values[:2], vectors.T[:2], strict=True):
        vector = vector * np.sign(vector[np.abs(vector).argmax()])  # the farthest model stands at the right, or above
        scale = math.sqrt(value)
        axes.append(_sum(ways, vector / scale))
        places.append([*(vector * scale).tolist(), 0.0])
    total = float(values.sum())
    return Plane(last, axes[0], axes[1], tuple(zip(*places, strict=True)), (values[0] / total, values[1] / total))


def _times(direction: Weights, factor: float) -> Weights:
    return {name: tensor * factor for name, tensor in direction.items()}


def _sum(ways: Sequence[Weights], factors: np.ndarray) -> Weights:
    zero = {name: torch.zeros_like(tensor) for name, tensor in ways[0].items()}
    return moved(zero, *zip(factors.tolist(), ways, strict=True))


def _generator(seed: int, number: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))
