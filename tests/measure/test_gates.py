from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from compress.errors import InputError
from compress.measure.gates import judge


@dataclass(frozen=True)
class Limits:
    max_drop: float | None = None
    min_speedup: float | None = None


def measured(**changes: Any) -> dict[str, Any]:
    rows = [{"p95_ms": 5.0, "speedup": 8.0}, {"p95_ms": 40.0, "speedup": 4.0}]
    subject = {
        "name": "int8", "size_bytes": 1000, "metrics": {"accuracy": 0.88}, "drop": {"value": 0.02}, "latency": rows,
    }  # fmt: skip
    return subject | changes


@pytest.mark.parametrize(
    ("name", "limit", "value", "passed"),
    [
        ("max_drop", 0.02, 0.02, True),
        ("max_drop", 0.0199, 0.02, False),
        ("min_accuracy", 0.88, 0.88, True),
        ("min_accuracy", 0.881, 0.88, False),
        ("min_speedup", 4.0, 4.0, True),
        ("min_speedup", 4.01, 4.0, False),
        ("max_p95_ms", 40.0, 40.0, True),
        ("max_p95_ms", 39.9, 40.0, False),
        ("max_size_bytes", 1000, 1000, True),
        ("max_size_bytes", 999, 1000, False),
    ],
)
def test_a_gate_passes_at_its_limit_and_not_beyond(name: str, limit: float, value: float, passed: bool) -> None:
    expected = [{"name": name, "limit": limit, "value": value, "passed": passed}]
    assert judge({name: limit}, measured()) == expected


def test_limits_that_are_none_are_not_judged() -> None:
    assert [gate["name"] for gate in judge(Limits(max_drop=0.1), measured())] == ["max_drop"]


def test_without_limits_nothing_is_judged() -> None:
    assert judge(Limits(), {"name": "empty"}) == []


def test_a_limit_of_zero_is_judged() -> None:
    assert judge({"max_drop": 0}, measured(drop={"value": 0.001}))[0]["passed"] is False


def test_a_gain_passes_a_limit_on_the_drop() -> None:
    assert judge({"max_drop": 0.0}, measured(drop={"value": -0.01}))[0]["passed"] is True


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("max_drop", {"drop": None}),
        ("min_accuracy", {"metrics": {}}),
        ("min_speedup", {"latency": []}),
        ("min_speedup", {"latency": [{"p95_ms": 1.0, "speedup": None}]}),
        ("max_p95_ms", {"latency": []}),
        ("max_size_bytes", {"size_bytes": None}),
    ],
)
def test_a_gate_that_nothing_was_measured_for_is_an_error(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"gate {name} is 1, but nothing was measured"):
        judge({name: 1}, measured(**changes))


def test_an_unknown_gate_is_an_error() -> None:
    with pytest.raises(InputError, match="'max_loss' is unknown; allowed: max_drop"):
        judge({"max_loss": 1}, measured())
