"""Goals: what cannot be is refused all at once, and a miss is told with its distance."""

from __future__ import annotations

import math
import re

import pytest

from compress.errors import InputError
from compress.search.goals import Goals, Outcome, check_goals, distance, misses, outcome_of, recall_gates


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        (Goals(max_drop=-0.1), "--max-drop is -0.1; allowed: a fraction from 0 to 1"),
        (Goals(max_drop=math.nan), "--max-drop is nan"),
        (Goals(p95_ms=0), "--p95-ms is 0; allowed: a number above 0"),
        (Goals(speedup=-2), "--speedup is -2"),
        (Goals(max_mb=math.inf), "--max-mb is inf"),
        (Goals(p50_ms=5, p95_ms=2), "--p95-ms is 2, below --p50-ms 5"),
        (Goals(speedup=20, p95_ms=5), "--speedup 20 and a latency in milliseconds"),
        (Goals(min_recall={"PHONE": 0.9}), "recall.PHONE names no label of the task; allowed: EMAIL"),
        (Goals(min_recall={"EMAIL": 1.5}), "recall.EMAIL is 1.5"),
    ],
)
def test_goals_that_cannot_be_are_refused(goals: Goals, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_goals(goals, ("EMAIL",), "token-classification")


def test_all_that_is_wrong_is_told_together_and_a_kind_without_labels_says_so() -> None:
    with pytest.raises(InputError) as refused:
        check_goals(Goals(max_drop=2, max_mb=0, min_recall={"a": 0.5}), (), "regression")
    said = str(refused.value)
    assert all(option in said for option in ("--max-drop", "--max-mb", "a task of regression has no labels"))


def test_gates_are_read_once_each() -> None:
    assert recall_gates(("recall.EMAIL=0.98", "recall.a=b=0.5")) == {"EMAIL": 0.98, "a=b": 0.5}
    for wrong in ("EMAIL=0.98", "recall.EMAIL", "recall.=0.5", "recall.EMAIL=much"):
        with pytest.raises(InputError, match=r"allowed: recall.LABEL=FRACTION"):
            recall_gates((wrong,))
    with pytest.raises(InputError, match="twice"):
        recall_gates(("recall.a=0.5", "recall.a=0.6"))


def test_a_miss_is_as_far_as_the_logarithm_of_how_many_times_too_much() -> None:
    goals = Goals(max_drop=0.01, p95_ms=2.0, max_mb=20.0, min_recall={"EMAIL": 0.9})
    outcome = Outcome("a", 0, drop=0.03, p50_ms=3.0, p95_ms=4.0, size_bytes=40_000_000, recall={"EMAIL": 0.8})
    assert {miss.goal: miss.distance for miss in misses(goals, outcome)} == {
        "max_drop": pytest.approx(math.log(3)),
        "p95_ms": pytest.approx(math.log(2)),
        "max_mb": pytest.approx(math.log(2)),
        "recall.EMAIL": pytest.approx(math.log(2)),
    }
    assert distance(goals, outcome) == pytest.approx(math.log(24))
    right = Outcome("b", 0, drop=0.01, p50_ms=1.0, p95_ms=2.0, size_bytes=20_000_000, recall={"EMAIL": 0.9})
    assert not misses(goals, right)


def test_the_recipe_s_gates_are_the_goals() -> None:
    gates = Goals(0.02, p95_ms=5, max_mb=20, min_recall={"a": 0.5}).gates()
    assert gates == {
        "max_drop": 0.02,
        "max_p95_ms": 5,
        "max_size_bytes": 20_000_000,
        "min_recall": {"a": 0.5},
        "allow_slower": True,
    }


def test_an_outcome_is_read_back_as_it_was_written() -> None:
    outcome = Outcome("a", 3, seconds=2.0, drop=0.1, drop_ci95=(0.0, 0.2), p50_ms=1.0, recall={"a": 0.5})
    plain = outcome.plain() | {"drop_ci95": [0.0, 0.2], "of_a_later_version": 1}
    assert outcome_of(plain) == outcome
