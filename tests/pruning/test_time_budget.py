"""The structure that is chosen keeps to the time, and loses least of all that do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.benchmark.block_times import BlockTimes, LayerShape
from compress.errors import InputError
from compress.pruning.time_budget import BUCKETS, DROPPED, Budget, Losses, fastest_ms

TIMES = BlockTimes(
    base_ms=1.0,
    dense_ms=12.5,
    heads=((0, 0.1), (1, 0.7), (2, 1.3)),
    neurons=((0, 0.1), (4, 0.9), (8, 2.1)),
    last_heads=((0, 0.0), (1, 0.3), (2, 0.4)),
    last_neurons=((0, 0.0), (4, 0.2), (8, 0.3)),
)


def _losses(layers: int, seed: int) -> list[Losses]:
    """Random errors that fall with the size."""
    random = np.random.default_rng(seed)
    losses = []
    for _ in range(layers):
        first, second = np.sort(random.random(1)), np.sort(random.random(1))
        losses.append(Losses({0: 1.0, 1: float(first[0]), 2: 0.0}, {0: 1.0, 4: float(second[0]), 8: 0.0}))
    return losses


def _ms(structure: list[LayerShape] | tuple[LayerShape, ...]) -> float:
    return TIMES.model_ms([shape for shape in structure if shape != DROPPED])


def _loss(losses: list[Losses], structure: tuple[LayerShape, ...] | list[LayerShape], weights: np.ndarray) -> float:
    return sum(
        weight[0] * layer.heads[heads] + weight[1] * layer.neurons[neurons]
        for layer, (heads, neurons), weight in zip(losses, structure, weights, strict=True)
    )


def _least(losses: list[Losses], budget_ms: float, weights: np.ndarray) -> float:
    """The least loss of every structure whose last layer has a head, tried one by one."""
    totals = []
    for structure in itertools.product(*(layer.shapes for layer in losses)):
        kept = [shape for shape in structure if shape != DROPPED]
        if kept and kept[-1][0] and _ms(structure) <= budget_ms:
            totals.append(_loss(losses, structure, weights))
    return min(totals)


@pytest.mark.parametrize("budget_ms", [1.35, 2.0, 3.3, 4.9, 7.0, 20.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_loses_no_more_than_the_best_of_all_structures(budget_ms: float, seed: int) -> None:
    losses = _losses(3, seed)
    weights = np.random.default_rng(seed).random((3, 2))
    structure = Budget(losses, TIMES, budget_ms).best(weights)
    assert _ms(structure) <= budget_ms
    slack = 3 * (budget_ms - TIMES.base_ms) / BUCKETS  # each layer's time may be rounded up by a bucket
    assert _loss(losses, structure, weights) <= _least(losses, budget_ms - slack, weights) + 1e-9


def test_with_time_for_everything_everything_stays() -> None:
    assert Budget(_losses(3, 1), TIMES, 12.5).best(np.ones((3, 2))) == [(2, 8)] * 3


def test_at_the_least_time_one_head_stays() -> None:
    structure = Budget(_losses(3, 1), TIMES, fastest_ms(TIMES)).best(np.ones((3, 2)))
    assert sorted(structure) == [DROPPED, DROPPED, (1, 0)]
    assert fastest_ms(TIMES) == pytest.approx(1.3)


def test_less_than_the_least_time_is_refused() -> None:
    with pytest.raises(InputError, match=r"1\.29 ms is less than 1\.3 ms"):
        Budget(_losses(3, 1), TIMES, 1.29)


def test_a_layer_without_heads_is_never_the_last() -> None:
    losses = [*_losses(2, 1), Losses({0: 0.0}, {0: 1.0, 4: 0.1, 8: 0.0})]
    structure = Budget(losses, TIMES, 6.0).best(np.array([[0.1, 0.1], [0.1, 0.1], [9.0, 9.0]]))
    assert structure[2] == DROPPED
    assert structure[1][0] > 0


def test_a_layer_that_weighs_more_keeps_more() -> None:
    losses = [Losses({0: 1.0, 1: 0.5, 2: 0.0}, {0: 1.0, 4: 0.5, 8: 0.0})] * 3
    first = Budget(losses, TIMES, 4.0).best(np.array([[9.0, 9.0], [1.0, 1.0], [1.0, 1.0]]))
    second = Budget(losses, TIMES, 4.0).best(np.array([[1.0, 1.0], [9.0, 9.0], [1.0, 1.0]]))
    assert first == [(2, 8), DROPPED, DROPPED]  # as the last one it is cheap
    assert second == [(2, 4), (2, 8), DROPPED]
