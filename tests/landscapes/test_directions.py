"""Directions between weights: filters as long as those that they move, and planes through models."""

from __future__ import annotations

import math

import pytest
import torch

from compress.landscapes.directions import (
    between,
    dot,
    free_weights,
    length,
    moved,
    plane_through,
    principal_plane,
    random_direction,
    signs,
)

WEIGHTS = {"linear.weight": torch.tensor([[3.0, 4.0], [0.0, 0.5]]), "linear.bias": torch.tensor([1.0, 2.0])}


def points(*places: tuple[float, ...]) -> list[dict[str, torch.Tensor]]:
    """Models of one row of weights."""
    return [{"weight": torch.tensor([place])} for place in places]


def test_each_filter_is_as_long_as_the_one_that_it_moves() -> None:
    direction = random_direction(WEIGHTS, seed=3, number=0)
    assert direction.keys() == {"linear.weight"}  # biases stay
    first, second = direction["linear.weight"]
    assert math.hypot(*first.tolist()) == pytest.approx(5.0)  # 3, 4
    assert second.abs().tolist() == pytest.approx([0.0, 0.5])  # what is zero stays


def test_a_filter_of_zeros_is_not_moved() -> None:
    assert not random_direction({"weight": torch.zeros(2, 3)}, 3, 0)["weight"].any()


def test_directions_are_those_of_seed_and_number_whatever_was_drawn_before() -> None:
    first = random_direction(WEIGHTS, 3, 1)["linear.weight"]
    torch.manual_seed(99)
    random_direction(WEIGHTS, 3, 0)
    assert torch.equal(first, random_direction(WEIGHTS, 3, 1)["linear.weight"])
    assert not torch.equal(first, random_direction(WEIGHTS, 3, 2)["linear.weight"])
    assert not torch.equal(first, random_direction(WEIGHTS, 4, 1)["linear.weight"])


def test_probes_are_signs_but_for_the_zeros_of_matrices() -> None:
    probe = signs({**WEIGHTS, "norm.bias": torch.zeros(4)}, 3, 0)
    assert probe["linear.weight"].abs().tolist() == [[1, 1], [0, 1]]
    assert probe["norm.bias"].abs().tolist() == [1, 1, 1, 1]  # no zero of a pruned matrix
    assert free_weights(WEIGHTS)["linear.weight"].tolist() == [[True, True], [False, True]]


def test_moving_changes_what_a_direction_names_and_no_tensor_in_place() -> None:
    there = moved(WEIGHTS, (2.0, {"linear.bias": torch.tensor([1.0, -1.0])}))
    assert there["linear.bias"].tolist() == [3, 0]
    assert there["linear.weight"] is WEIGHTS["linear.weight"]
    assert WEIGHTS["linear.bias"].tolist() == [1, 2]


def test_the_plane_through_three_models_holds_them() -> None:
    models = points((1, 1, 1), (1, 4, 5), (3, 1, 1))  # ways of (0, 3, 4) and (2, 0, 0)
    plane = plane_through(models)
    assert plane is not None
    assert [value for place in plane.places for value in place] == pytest.approx([0, 0, 5, 0, 0, 2])
    assert dot(plane.across, plane.up) == pytest.approx(0, abs=1e-6)
    for model, place in zip(models, plane.places, strict=True):
        assert length(between(model, plane.at(*place))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("last", [(2.0, 2.0, 2.0), (1.0, 1.0, 1.0)])
def test_models_on_one_line_lie_in_no_one_plane(last: tuple[float, ...]) -> None:
    models = points((1, 1, 1), (3, 3, 3), last)
    assert plane_through(models) is None
    assert principal_plane(models) is None


def test_the_same_model_twice_lies_in_no_one_plane() -> None:
    assert plane_through(points((1, 1), (1, 1), (2, 3))) is None


def test_a_trajectory_s_plane_goes_through_its_end_along_what_differs_most() -> None:
    models = points((0, 10, 0), (0, 5, 3), (1, 0, 0), (0, 0, 0))  # ways to the last: (0, 10, 0), (0, 5, 3), (1, 0, 0)
    plane = principal_plane(models)
    assert plane is not None
    assert plane.explained is not None
    assert sum(plane.explained) == pytest.approx(134 / 135)  # all but the 1 of 100 + 34 + 1
    assert plane.places[-1] == (0, 0)
    for model, place in list(zip(models, plane.places, strict=True))[:2]:
        assert length(between(model, plane.at(*place))) == pytest.approx(0, abs=1e-4)
    assert plane.places[2] == pytest.approx((0, 0), abs=1e-4)  # it stands above the plane
    assert plane.places[0][0] > 9  # the farthest stands at the right
    assert plane.explained[0] > plane.explained[1]
