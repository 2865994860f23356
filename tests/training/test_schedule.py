"""Learning rates worked out by hand."""

from __future__ import annotations

import math

import pytest

from compress.training.schedule import rate_factor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 10 steps, of which the first round(10 * 0.3) = 3 rise by quarters; then 7 steps fall from 1
        ("linear", [0.25, 0.5, 0.75, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]),
        ("cosine", [0.25, 0.5, 0.75] + [(1 + math.cos(math.pi * k / 7)) / 2 for k in range(7)]),
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_factors_by_hand(schedule: str, expected: list[float]) -> None:
    assert [rate_factor(schedule, step, 10, 0.3) for step in range(10)] == pytest.approx(expected)


def test_no_warm_up_starts_at_the_top() -> None:
    assert [rate_factor("linear", step, 4, 0.0) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert rate_factor("cosine", 5, 10, 0.0) == pytest.approx(0.5)


def test_no_step_is_wasted_on_a_rate_of_0() -> None:
    for schedule in ("linear", "cosine", "constant"):
        for total in (1, 2, 7, 100):
            for warmup in (0.0, 0.1, 0.5, 0.99):
                assert all(0 < rate_factor(schedule, step, total, warmup) <= 1 for step in range(total))
