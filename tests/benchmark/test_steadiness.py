"""How a machine behaved, told from planted rounds and planted clocks."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from compress.benchmark import steadiness
from compress.benchmark.steadiness import Reading, conditions, half_width, loose, movements, others_busy, reading

STEADY = [10.0, 10.1, 9.9, 10.0, 10.05]


def test_a_steady_machine_has_no_warning() -> None:
    noticed = conditions([STEADY, [value / 5 for value in STEADY]], 0.05)
    assert noticed["warnings"] == []
    assert noticed["rounds"] == 5
    assert noticed["moved"] == pytest.approx(10.1 / 9.9 - 1, abs=1e-4)
    assert noticed["drift"] is None


def test_movements_are_those_of_all_subjects_together() -> None:
    """One is twice as slow in round 2 alone: half of that, as a logarithm, is the machine's."""
    slowness = movements([[1.0, 2.0], [5.0, 5.0]])
    assert slowness[1] - slowness[0] == pytest.approx(math.log(2) / 2)


def test_a_busy_loop_beside_is_said_with_how_much_it_took() -> None:
    (warning,) = conditions([STEADY], 0.97)["warnings"]
    assert warning.startswith("others kept 1.0 of ")
    assert "end them" in warning
    assert conditions([STEADY], None)["others_busy"] is None


def test_a_machine_that_heats_up_drifts() -> None:
    noticed = conditions([[10.0, 10.3, 10.6, 10.9, 11.4]], None)
    assert noticed["drift"] == pytest.approx(0.14)
    (warning,) = noticed["warnings"]
    assert "became 14.0 % slower from the first round to the last" in warning
    faster = conditions([[11.4, 10.9, 10.6, 10.3, 10.0]], None)
    assert "12.3 % faster" in faster["warnings"][0]


def test_a_machine_that_goes_up_and_down_moves_but_does_not_drift() -> None:
    noticed = conditions([[10.0, 12.0, 10.0, 12.0, 10.0]], None)
    assert noticed["drift"] is None
    (warning,) = noticed["warnings"]
    assert "speed moved by 20.0 % between rounds" in warning


@pytest.mark.parametrize("rounds", [[10.0], [10.0, 11.0], [10.0, 10.5, 11.0]])
def test_of_few_rounds_no_drift_is_said(rounds: list[float]) -> None:
    assert conditions([rounds], None)["drift"] is None


def test_what_others_used_is_what_was_used_less_what_is_ours() -> None:
    """In 10 s the processors worked 14 s, of which 9 s were for us: others had half a processor."""
    assert others_busy(Reading(0.0, 100.0, 1.0), Reading(10.0, 114.0, 10.0)) == pytest.approx(0.5)
    assert others_busy(Reading(0.0, 100.0, 1.0), Reading(10.0, 108.0, 10.0)) == 0.0
    assert others_busy(Reading(0.0, None, 1.0), Reading(10.0, 108.0, 10.0)) is None
    assert others_busy(Reading(5.0, 1.0, 1.0), Reading(5.0, 1.0, 1.0)) is None


def test_processors_that_are_not_ours_do_not_count_and_stolen_time_does(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [SimpleNamespace(user=1.0, system=2.0, idle=50.0, steal=4.0), SimpleNamespace(user=100.0, system=0.0)]
    monkeypatch.setattr(steadiness.psutil, "cpu_times", lambda percpu: times)
    monkeypatch.setattr(steadiness, "usable_processors", lambda: [0])
    assert reading().busy == 7.0
    monkeypatch.setattr(steadiness, "usable_processors", lambda: [0, 1, 9])
    assert reading().busy == 107.0


def test_where_the_system_does_not_tell_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(percpu: bool) -> Any:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(steadiness.psutil, "cpu_times", refuse)
    assert reading().busy is None


def test_what_is_not_as_tight_as_was_asked_for_is_named() -> None:
    row = {"batch": 1, "length": 8, "threads": 2, "p50_ms": 10.0}
    rows = {
        "a": [row | {"p50_ci95_ms": [9.6, 10.4]}],
        "b": [row | {"p50_ci95_ms": None}],
        "c": [row | {"p50_ci95_ms": [9.9, 10.1]}],
    }
    assert [text.partition(":")[0] for text in loose(rows, 0.02)] == [
        f"{name} at batch 1, length 8, 2 threads" for name in "ab"
    ]
    assert "one round tells nothing" in loose(rows, 0.02)[1]
    assert half_width(rows["a"][0]) == pytest.approx(0.04)
