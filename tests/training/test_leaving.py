"""Thresholds are the cheapest that there are, and keep what they have to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.models.exits import NEVER
from compress.training.leaving import Rows, cheapest_thresholds


def rows_of(seed: int, exits: int, examples: int = 40, *, ties: bool = False) -> Rows:
    """Examples of which deeper exits are right more often, and sure ones too."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, (exits, examples)).astype(np.float32)
    if ties:
        confidence = np.round(confidence, 1).astype(np.float32)
    chance = np.concatenate([confidence * np.linspace(0.8, 1, exits)[:, None], np.full((1, examples), 0.95)])
    return Rows(confidence, random.uniform(size=chance.shape) < chance, np.arange(1, exits + 2))


def outcome(rows: Rows, thresholds: tuple[float, ...]) -> tuple[int, int]:
    """Right answers and layers, one example after the other."""
    right = layers = 0
    for example in range(rows.right.shape[1]):
        exit = next(
            (number for number, limit in enumerate(thresholds) if rows.confidence[number, example] > limit), len(thresholds)
        )
        right += int(rows.right[exit, example])
        layers += int(rows.layers[exit])
    return right, layers


def choices(rows: Rows, exit: int) -> list[float]:
    return [0.0, *np.unique(rows.confidence[exit]).astype(float), NEVER]


@pytest.mark.parametrize("max_drop", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_one_exit_gets_the_cheapest_of_all_thresholds(seed: int, ties: bool, max_drop: float) -> None:
    rows = rows_of(seed, 1, ties=ties)
    needed = outcome(rows, (NEVER,))[0] - max_drop * 40
    tried = [outcome(rows, (choice,)) for choice in choices(rows, 0)]
    chosen = outcome(rows, tuple(cheapest_thresholds(rows, max_drop)))
    assert chosen[0] >= needed - 1e-9
    assert chosen[1] == min(layers for right, layers in tried if right >= needed - 1e-9)


@pytest.mark.parametrize("max_drop", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_two_exits_get_the_cheapest_of_all_pairs(seed: int, max_drop: float) -> None:
    rows = rows_of(seed, 2)
    thresholds = cheapest_thresholds(rows, max_drop)
    needed = outcome(rows, (NEVER, NEVER))[0] - max_drop * 40
    right, layers = outcome(rows, tuple(thresholds))
    assert right >= needed - 1e-9
    tried = [outcome(rows, pair) for pair in itertools.product(choices(rows, 0), choices(rows, 1))]
    assert layers == min(other for kept, other in tried if kept >= needed - 1e-9)


@pytest.mark.parametrize("max_drop", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_of_three_exits_no_other_choice_of_one_is_cheaper(seed: int, max_drop: float) -> None:
    rows = rows_of(seed, 3)
    thresholds = cheapest_thresholds(rows, max_drop)
    needed = outcome(rows, (NEVER,) * 3)[0] - max_drop * 40
    right, layers = outcome(rows, tuple(thresholds))
    assert right >= needed - 1e-9
    for exit in range(3):
        for choice in choices(rows, exit):
            other = outcome(rows, (*thresholds[:exit], choice, *thresholds[exit + 1 :]))
            assert other[0] < needed - 1e-9 or other[1] >= layers


def test_where_all_may_be_lost_all_leave_at_once() -> None:
    rows = rows_of(1, 3)
    assert rows.leaving(cheapest_thresholds(rows, 1.0)).tolist() == [0] * 40


def test_where_exits_are_wrong_none_leave() -> None:
    confidence = np.linspace(0.6, 0.9, 10, dtype=np.float32)[None]
    rows = Rows(confidence, np.stack([np.zeros(10, bool), np.ones(10, bool)]), np.array([1, 2]))
    assert rows.leaving(cheapest_thresholds(rows, 0.0)).tolist() == [1] * 10
    assert rows.leaving(cheapest_thresholds(rows, 0.2)).tolist().count(0) == 2


def test_an_exit_that_says_nothing_lets_none_leave() -> None:
    rows = Rows(np.zeros((1, 6), dtype=np.float32), np.ones((2, 6), bool), np.array([1, 2]))
    assert rows.leaving(cheapest_thresholds(rows, 1.0)).tolist() == [1] * 6


def test_neighbouring_numbers_are_told_apart_in_float32() -> None:
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1))
    rows = Rows(np.array([[high, low]]), np.array([[True, False], [True, True]]), np.array([1, 2]))
    thresholds = cheapest_thresholds(rows, 0.0)
    assert (rows.confidence[0] > np.float32(thresholds[0])).tolist() == [True, False]
