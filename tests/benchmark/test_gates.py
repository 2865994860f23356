from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from compress.benchmark.gates import judge, speed_over_float
from compress.errors import InputError
from compress.recipe.plan import Gates


@dataclass(frozen=True)
class Limits:
    max_drop: float | None = None
    min_speedup: float | None = None


def measured(**changes: Any) -> dict[str, Any]:
    rows = [{"p95_ms": 5.0, "speedup": 8.0}, {"p95_ms": 40.0, "speedup": 4.0}]
    subject = {
        "name": "int8",
        "size_bytes": 1000,
        "metrics": {"accuracy": 0.88},
        "drop": {"value": 0.02},
        "latency": rows,
    }
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


# -- an int8 file is faster than float, or the run fails


def timed(target: str, *middles: float, kind: str = "onnx", threads: int = 1) -> dict[str, Any]:
    """A subject with these medians in milliseconds, at batches of 1, 2, ..."""
    rows = [
        {"device": "cpu", "batch": batch, "length": 32, "threads": threads, "p50_ms": middle}
        for batch, middle in enumerate(middles, 1)
    ]
    return {"name": target, "target": target, "kind": kind, "latency": rows}


TORCH = timed("torch", 8.0, 18.0, kind="torch")
FLOAT = timed("onnxruntime-cpu", 4.0, 9.0)
INT8 = "onnxruntime-cpu-int8"


@pytest.mark.parametrize("target", [INT8, "openvino-cpu-int8"])
@pytest.mark.parametrize(
    ("middles", "value", "passed"),
    [
        ((2.0, 3.0), 6.0**0.5, True),  # 4 / 2 = 2 times and 9 / 3 = 3 times as fast
        ((4.0, 9.0), 1.0, True),
        ((8.0, 3.0), 1.5**0.5, True),  # slower in one row, faster on the whole
        ((4.0, 10.0), 0.9**0.5, False),
        ((16.0, 9.0), 0.5, False),
    ],
)
def test_an_int8_file_is_held_against_the_float_file_on_the_geometric_mean(
    target: str, middles: tuple[float, ...], value: float, passed: bool
) -> None:
    subject = timed(target, *middles)
    (gate,) = judge({}, subject, [TORCH, FLOAT, subject])
    assert (gate["name"], gate["limit"], gate["passed"]) == ("min_speedup_over_float", 1.0, passed)
    assert gate["value"] == pytest.approx(value)


@pytest.mark.parametrize("beside", [[TORCH, FLOAT], [FLOAT, TORCH], [timed("openvino-cpu", 20.0, 50.0), FLOAT, TORCH]])
def test_the_fastest_float_subject_counts(beside: list[dict[str, Any]]) -> None:
    assert speed_over_float(timed(INT8, 2.0, 3.0), beside) == pytest.approx(6.0**0.5)


def test_without_a_float_file_the_baseline_counts() -> None:
    assert speed_over_float(timed(INT8, 4.0, 9.0), [TORCH]) == pytest.approx(2.0)


def test_other_int8_files_are_no_measure() -> None:
    others = [timed("openvino-cpu-int8", 0.1, 0.1), timed("tensorrt-int8", 0.1, 0.1), timed(INT8, 0.1, 0.1)]
    assert speed_over_float(timed(INT8, 4.0, 9.0), others) is None
    assert judge({}, timed(INT8, 4.0, 9.0), others) == []


def test_a_slower_int8_file_passes_where_that_is_allowed() -> None:
    subject = timed(INT8, 400.0, 900.0)
    assert judge(Gates(allow_slower=True), subject, [FLOAT, subject]) == []
    assert judge({"allow_slower": True}, subject, [FLOAT, subject]) == []
    assert [gate["passed"] for gate in judge(Gates(), subject, [FLOAT, subject])] == [False]
    assert [gate["passed"] for gate in judge({"allow_slower": False}, subject, [FLOAT, subject])] == [False]


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu", "tensorrt-int8", "onnxruntime-cuda-fp16", "torch"])
def test_files_that_are_not_int8_for_cpus_are_not_held_against_float(target: str) -> None:
    subject = timed(target, 400.0, 900.0)
    assert judge(Gates(), subject, [FLOAT, subject]) == []


@pytest.mark.parametrize(
    "beside",
    [
        [],
        [timed("onnxruntime-cpu")],
        [timed("onnxruntime-cpu", 1.0)],
        [timed("onnxruntime-cpu", 1.0, 1.0, threads=2)],
        [{"name": "onnxruntime-cpu", "target": "onnxruntime-cpu"}],
    ],
)
def test_float_subjects_that_were_not_timed_alike_are_no_measure(beside: list[dict[str, Any]]) -> None:
    assert speed_over_float(timed(INT8, 2.0, 3.0), beside) is None


def test_an_int8_file_that_was_not_timed_is_not_held_against_float() -> None:
    assert speed_over_float({"name": INT8, "target": INT8, "latency": []}, [FLOAT]) is None


def test_more_rows_of_the_float_file_do_no_harm() -> None:
    assert speed_over_float(timed(INT8, 2.0), [FLOAT]) == pytest.approx(2.0)


def test_the_gate_on_float_comes_after_those_of_the_recipe() -> None:
    subject = timed(INT8, 2.0, 3.0) | {"size_bytes": 10}
    assert [gate["name"] for gate in judge({"max_size_bytes": 10}, subject, [FLOAT])] == [
        "max_size_bytes",
        "min_speedup_over_float",
    ]


def test_every_int8_file_is_held_against_float_and_the_gate_tells_whose_it_is() -> None:
    slow, shipped = timed("openvino-cpu-int8", 400.0, 900.0), timed(INT8, 2.0, 3.0)
    gates = judge(Gates(), shipped, [FLOAT, slow, shipped])
    assert [(gate["name"], gate["passed"]) for gate in gates] == [
        ("min_speedup_over_float (openvino-cpu-int8)", False),
        ("min_speedup_over_float", True),
    ]
    assert judge(Gates(allow_slower=True), shipped, [FLOAT, slow, shipped]) == []


def test_a_recall_is_a_gate_for_each_label() -> None:
    by_label = {"EMAIL": {"recall": 0.97}, "NAME": {"recall": 0.99}, "IBAN": {"recall": None}}
    gates = judge(Gates(min_recall={"EMAIL": 0.98, "NAME": 0.99}, allow_slower=True), measured(by_label=by_label))
    assert gates == [
        {"name": "min_recall (EMAIL)", "limit": 0.98, "value": 0.97, "passed": False},
        {"name": "min_recall (NAME)", "limit": 0.99, "value": 0.99, "passed": True},
    ]
    with pytest.raises(InputError, match=r"gate min_recall \(IBAN\) is 0.5, but nothing was measured .* that has this label"):
        judge({"min_recall": {"IBAN": 0.5}}, measured(by_label=by_label))
    with pytest.raises(InputError, match="nothing was measured"):
        judge({"min_recall": {"EMAIL": 0.5}}, measured())
