"""Losses along a line and in a plane, on bowls."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.landscapes.directions import plane_through
from compress.landscapes.loss import Weights
from compress.landscapes.store import Store
from compress.landscapes.surfaces import Line, grid_of, line, surface

START, END = ({"weight": torch.tensor([[x, y]])} for x, y in ((0.0, 0.0), (3.0, 4.0)))


class Squares:
    """The sum of the squares of the weights."""

    def at(self, weights: Weights) -> float:
        return weights["weight"].square().sum().item()


def drawn_line(points: int) -> Line:
    loss: Any = Squares()
    return line(loss, START, END, points, Store(), "", {})


def test_a_line_goes_from_before_one_model_to_behind_the_other() -> None:
    bowl = drawn_line(5)
    assert bowl.alphas == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert bowl.losses == pytest.approx([6.25, 0.0, 6.25, 25.0, 56.25])
    assert bowl.distance == pytest.approx(5)


@pytest.mark.parametrize("points", [2, 4, 22])
def test_both_models_stand_on_the_line_whatever_the_points(points: int) -> None:
    bowl = drawn_line(points)
    assert bowl.losses[bowl.alphas.index(0.0)] == 0
    assert bowl.losses[bowl.alphas.index(1.0)] == pytest.approx(25)
    assert len(bowl.alphas) == points + 2
    assert bowl.alphas == sorted(bowl.alphas)


@pytest.mark.parametrize(
    ("losses", "barrier", "hill"),
    [
        ([9.0, 1.0, 0.2, 0.0, 9.0], (0.0, 0.0), 0.0),  # below the straight line
        ([9.0, 1.0, 0.9, 0.0, 9.0], (0.4, 0.5), 0.0),  # above it, and not above the higher end
        ([9.0, 1.0, 2.0, 0.0, 9.0], (1.5, 0.5), 1.0),
        ([9.0, 0.0, 0.0, 0.0, 9.0], (0.0, 0.0), 0.0),
    ],
)
def test_a_barrier_is_what_rises_above_the_straight_line_between_the_ends(
    losses: list[float], barrier: tuple[float, float], hill: float
) -> None:
    way = Line([-0.5, 0.0, 0.5, 1.0, 1.5], losses, 1.0)
    assert way.barrier == pytest.approx(barrier)
    assert way.hill == pytest.approx(hill)
    assert way.as_dict()["barrier_at"] == pytest.approx(barrier[1])


def test_a_plane_s_losses_are_those_of_its_places() -> None:
    plane = plane_through([START, {"weight": torch.tensor([[2.0, 0.0]])}, {"weight": torch.tensor([[1.0, 1.0]])}])
    assert plane is not None
    x, y = grid_of(plane.places, 3)
    assert (x, y) == (pytest.approx([-0.5, 1.0, 2.5]), pytest.approx([-0.25, 0.5, 1.25]))  # a quarter of 2 and of 1 around
    loss: Any = Squares()
    losses = surface(loss, plane, x, y, Store(), "", {})
    assert [value for row in losses for value in row] == pytest.approx([a * a + b * b for b in y for a in x], abs=1e-5)
