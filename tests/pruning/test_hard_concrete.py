"""Hard-concrete gates are open as often as the formula says, and settle as it expects."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate

from compress.pruning.hard_concrete import HIGHEST, LOWEST, drawn, open_probability, settled


def draws(log_alpha: float, count: int = 200_000) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return drawn(torch.full((count,), log_alpha))


@pytest.mark.parametrize("log_alpha", [LOWEST, -1.6, 0.0, 2.0, HIGHEST])
def test_a_gate_is_open_as_often_as_its_probability_says(log_alpha: float) -> None:
    fraction = (draws(log_alpha) > 0).double().mean().item()
    expected = 1 / (1 + math.exp(-log_alpha - 1.5986))  # beta log 11, with beta 2/3
    assert open_probability(torch.tensor(log_alpha)).item() == pytest.approx(expected, abs=1e-4)
    assert fraction == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 200_000))


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.0])
def test_the_mean_of_draws_is_the_integral_over_the_noise(log_alpha: float) -> None:
    def gate(noise: float) -> float:
        concrete = 1 / (1 + math.exp(-(math.log(noise / (1 - noise)) + log_alpha) * 1.5))
        return min(1.0, max(0.0, concrete * 1.2 - 0.1))

    expected, _ = integrate.quad(gate, 0, 1, limit=200)
    values = draws(log_alpha)
    assert values.mean().item() == pytest.approx(expected, abs=4e-3)
    assert values.min() == 0
    assert values.max() == 1


def test_gradients_reach_log_alpha_where_a_draw_lies_between_and_nowhere_else() -> None:
    log_alpha = torch.zeros(2000, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        gates = drawn(log_alpha)
    gates.sum().backward()
    assert log_alpha.grad is not None
    between = (gates > 0) & (gates < 1)
    assert torch.equal(log_alpha.grad > 0, between)
    assert 0 < between.sum() < 2000


def test_as_many_gates_stay_as_draws_open_and_the_likeliest_ones() -> None:
    """P(open) of 0 is 0.832, of -4.6 0.0474, of 4.6 0.998: 2.71 together, so 3 of 4 stay."""
    gates = settled(torch.tensor([0.0, -4.6, 4.6, 0.01]))
    expected = [1 / (1 + math.exp(-log_alpha * 1.2)) for log_alpha in (0.0, 4.6, 0.01)]
    assert gates[1] == 0
    assert gates[[0, 2, 3]].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("open_ones", "multiple", "left"),
    [
        (0, 8, 0),
        (1, 8, 8),
        (11, 8, 8),
        (13, 8, 16),
        (20, 8, 20),
        (20, 64, 20),
        (3, 1, 3),
    ],
)
def test_numbers_are_rounded_to_multiples(open_ones: int, multiple: int, left: int) -> None:
    """20 gates, so many of them open for sure, all others closed for sure; 20 is no multiple of 8, but all there are."""
    log_alpha = torch.full((20,), -50.0)
    log_alpha[:open_ones] = 50
    gates = settled(log_alpha, multiple)
    assert (gates > 0).sum() == left
    assert (gates[:open_ones] > 0).sum() == min(open_ones, left)


def test_no_gates_settle_to_none() -> None:
    assert settled(torch.zeros(0), 8).shape == (0,)
