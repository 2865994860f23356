"""How sharp a loss is: on bowls whose Hessian is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from compress.landscapes.directions import random_direction
from compress.landscapes.loss import Weights, bend
from compress.landscapes.sharpness import Estimate, differ, rises, trace
from compress.landscapes.store import Store

KEY: dict[str, Any] = {}


class Bowl:
    """Half of w' H w, and a slope."""

    def __init__(self, hessian: torch.Tensor, slope: float = 0.0) -> None:
        self.hessian, self.slope = hessian, slope

    def _of(self, weights: Weights) -> torch.Tensor:
        flat = weights["weight"].flatten()
        return 0.5 * flat @ self.hessian @ flat + self.slope * flat.sum()

    def at(self, weights: Weights) -> float:
        return self._of(weights).item()

    def curvature(self, weights: Weights, direction: Weights) -> float:
        return bend(self._of, weights, direction)


def traced(bowl: Any, weights: Weights, probes: int) -> Estimate:
    return trace(bowl, weights, probes=probes, seed=3, store=Store(), what="", key=KEY)


def test_the_trace_of_a_diagonal_hessian_is_exact_in_each_probe() -> None:
    estimate = traced(Bowl(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))), {"weight": torch.ones(2, 2)}, 5)
    assert estimate.samples == pytest.approx([10.0] * 5)
    assert estimate.standard_error == pytest.approx(0, abs=1e-6)


def test_the_trace_of_any_hessian_is_the_mean_over_the_probes() -> None:
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    hessian = root @ root.T
    estimate = traced(Bowl(hessian), {"weight": torch.ones(2, 2)}, 400)
    assert estimate.standard_error is not None
    assert abs(estimate.mean - hessian.trace().item()) < 3 * estimate.standard_error
    spread = math.sqrt(2 * (hessian.square().sum() - hessian.diagonal().square().sum()).item())  # Hutchinson's variance
    assert estimate.standard_error == pytest.approx(spread / 20, rel=0.2)


def test_zeros_of_a_matrix_do_not_count() -> None:
    estimate = traced(
        Bowl(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))), {"weight": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}, 2
    )
    assert estimate.samples == pytest.approx([4.0, 4.0])  # 1 + 3


def test_rises_are_half_of_what_a_bowl_bends_at_each_radius_and_a_slope_is_taken_out() -> None:
    weights, hessian = {"weight": torch.tensor([[1.0, -2.0], [0.5, 1.0]])}, torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    bowl: Any = Bowl(hessian, slope=7.0)
    own = {"rest": bowl.at(weights), "radius": 0.4, "directions": 3, "seed": 5}
    curve = rises(bowl, weights, **own, store=Store(), what="", key=KEY)
    assert [radius for radius, _ in curve] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    for radius, estimate in curve:
        steps = [random_direction(weights, 5, number)["weight"].flatten() for number in range(3)]
        assert estimate.samples == pytest.approx([(radius**2 / 2 * step @ hessian @ step).item() for step in steps], abs=1e-5)


def test_an_estimate_tells_its_mean_and_error() -> None:
    assert Estimate((1.0, 3.0)).as_dict() == {"mean": 2.0, "standard_error": pytest.approx(1.0), "samples": [1.0, 3.0]}
    assert Estimate((4.0,)).standard_error is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, 1.1, 0.9], [3.0, 3.1, 2.9], True),
        ([1.0, 3.0, 2.0], [2.0, 3.0, 1.5], False),
        ([1.0], [3.0], False),  # one draw tells nothing of its error
        ([1.0, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [2.0, 2.0], True),
    ],
)
def test_means_differ_where_chance_does_not_explain_it(first: list[float], second: list[float], expected: bool) -> None:
    assert differ(first, second) is expected
