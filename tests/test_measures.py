"""What the name of a score says of it."""

from __future__ import annotations

import numpy as np
import pytest

from compress import record
from compress.benchmark.gates import judge
from compress.measures import is_better, is_less_better, lost, margin_kept
from compress.reporting.figures import Point, front_of


def test_perplexities_alone_are_better_where_they_are_less() -> None:
    assert is_less_better("pseudo_perplexity")
    assert is_less_better("selection_pseudo_perplexity")
    assert not is_less_better("accuracy")
    assert is_better("pseudo_perplexity", 9.0, 10.0)
    assert not is_better("pseudo_perplexity", 10.0, 10.0)
    assert is_better("accuracy", 0.9, 0.8)


def test_the_loss_of_a_perplexity_is_the_share_by_which_it_rises() -> None:
    assert lost("pseudo_perplexity", 10.0, 11.0) == pytest.approx(0.1)
    assert lost("pseudo_perplexity", 10.0, 9.0) == pytest.approx(-0.1)
    assert lost("accuracy", 0.9, 0.8) == pytest.approx(0.1)
    assert np.allclose(lost("perplexity", np.array([10.0, 20.0]), np.array([11.0, 30.0])), [0.1, 0.5])


@pytest.mark.parametrize(("after", "passes"), [(10.9, True), (11.2, False), (8.0, True)])
def test_a_gate_on_the_drop_lets_a_perplexity_rise_by_that_share(after: float, passes: bool) -> None:
    subject = {"name": "int8", "drop": {"value": lost("pseudo_perplexity", 10.0, after)}}
    (gate,) = judge({"max_drop": 0.1}, subject)
    assert gate["passed"] is passes


def test_a_perplexity_is_shown_as_a_number_and_a_share_as_a_percentage() -> None:
    assert record.score("pseudo_perplexity", 12.345) == "12.35"
    assert record.score("accuracy", 0.123) == "12.3 %"
    assert record.between("pseudo_perplexity", (11.0, 13.5)) == "11.00 to 13.50"
    assert (record.unit_of("accuracy"), record.unit_of("perplexity")) == (" %", "")


def test_the_front_of_perplexities_falls() -> None:
    points = [
        Point(name, milliseconds, perplexity, None, None, None, "onnx", False, "", True)
        for name, milliseconds, perplexity in (("fast", 1.0, 30.0), ("slow", 3.0, 10.0), ("beaten", 4.0, 12.0))
    ]
    assert front_of(points) == [(1.0, 30.0), (3.0, 10.0)]


@pytest.mark.parametrize(
    ("upper", "margin"),
    [(-0.01, 0.0), (0.0, 0.0), (0.0001, 0.005), (0.01, 0.01), (0.0101, 0.02), (0.03, 0.03), (0.05, 0.05), (0.0501, None)],
)
def test_the_margin_that_is_kept_is_the_smallest_that_the_interval_ends_in(upper: float, margin: float | None) -> None:
    assert margin_kept(upper) == margin
