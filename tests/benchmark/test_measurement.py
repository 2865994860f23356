from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.benchmark import latency
from compress.benchmark.bench import latencies
from compress.benchmark.latency import Grid
from compress.benchmark.measurement import Measurement, evaluate, measure
from compress.benchmark.subjects import Subject
from compress.errors import InputError
from compress.runtimes import foreign_file

Folder = Callable[..., Path]
# The hand-built file is right about all eight sentences; its twin with swapped answers about none.


@pytest.fixture
def pair(onnx_folder: Folder) -> list[Path]:
    return [onnx_folder("right", tokenizer=True), onnx_folder("wrong", tokenizer=True, swapped=True)]


@pytest.fixture(autouse=True)
def timings(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> dict[str, float]:
    """Let the subjects answer in known times (milliseconds for one example), without a process; slow tests time really."""
    known: dict[str, float] = {"right": 8.0, "wrong": 2.0}

    def ask(subject: Subject, grid: Grid, threads: int) -> dict[str, Any]:
        each = known.get(subject.name, 1.0)
        return {"samples": [[each * batch] * 3 for batch, _ in grid.shapes], "peak_memory_bytes": 5_000_000}

    if "slow" not in request.keywords:
        monkeypatch.setattr(latency, "ask_worker", ask)
    return known


def test_a_measured_subject_has_the_keys_of_run_json_in_their_order(pair: list[Path], task: Any) -> None:
    subject = measure(pair, task=task).subjects[0]
    assert list(subject) == [
        "name",
        "kind",
        "target",
        "path",
        "size_bytes",
        "size_by_part",
        "parameters",
        "macs",
        "truncated",
        "max_length",
        "unknown_tokens",
        "metrics",
        "metrics_ci95",
        "by_label",
        "by_length",
        "reliability",
        "drop",
        "agreement",
        "examples",
        "parity",
        "processors",
        "integer_ops",
        "fused_ops",
        "peak_memory_bytes",
        "cold_start",
        "latency",
    ]
    assert list(subject["parity"]) == ["max_abs_error", "label_flips", "batch_invariance_flips"]
    assert list(subject["latency"][0]) == [
        "device",
        "batch",
        "length",
        "threads",
        "p50_ms",
        "p50_ci95_ms",
        "p95_ms",
        "examples_per_second",
        "samples",
        "rounds_p50_ms",
        "speedup",
        "speedup_ci95",
    ]
    assert json.loads(json.dumps(subject)) == subject


def test_two_files_are_measured_against_the_first(pair: list[Path], task: Any) -> None:
    right, wrong = measure(pair, task=task).subjects
    assert (right["name"], right["metrics"], right["drop"]["value"]) == ("right", {"accuracy": 1.0}, 0.0)
    assert (wrong["name"], wrong["metrics"], wrong["drop"]["value"]) == ("wrong", {"accuracy": 0.0}, 1.0)
    assert (right["agreement"], wrong["agreement"]) == (1.0, 0.0)
    assert wrong["drop"]["p"] == 2 / 2**8
    assert (right["latency"][0]["speedup"], wrong["latency"][0]["speedup"]) == (1.0, 4.0)
    assert right["path"] == str(pair[0])
    assert right["size_bytes"] == (pair[0] / "model.onnx").stat().st_size
    assert (right["parameters"], right["macs"], right["integer_ops"]) == (30, 4, 0)
    assert right["peak_memory_bytes"] == 5_000_000


def test_another_baseline_turns_drop_and_speedup_round(pair: list[Path], task: Any) -> None:
    right, wrong = measure(pair, task=task, baseline="wrong").subjects
    assert (right["drop"]["value"], wrong["drop"]["value"]) == (-1.0, 0.0)
    assert (right["latency"][0]["speedup"], wrong["latency"][0]["speedup"]) == (0.25, 1.0)


def test_confusion_and_predictions_are_told_for_each_name(pair: list[Path], task: Any) -> None:
    measurement = measure(pair, task=task)
    assert measurement.confusion == {"right": [[4, 0], [0, 4]], "wrong": [[0, 4], [4, 0]]}
    # "a good film" and "good": one good word of 5 and of 3 tokens
    assert measurement.predictions["right"][[0, 4]] == pytest.approx(np.array([[0, 1 / 5], [0, 1 / 3]]))
    assert "cpu" in measurement.machine
    assert "onnxruntime" in measurement.versions


def test_every_combination_is_timed(pair: list[Path], task: Any) -> None:
    rows = measure(pair, task=task, batch=[1, 4], length=[8, 16], threads=[1]).subjects[1]["latency"]
    assert [(row["batch"], row["length"], row["p50_ms"]) for row in rows] == [(1, 8, 2), (1, 16, 2), (4, 8, 8), (4, 16, 8)]


def test_what_the_export_says_stands_in_the_entry(onnx_folder: Folder, task: Any) -> None:
    stages = [
        {"name": "export", "accepted": True, "max_abs_error": 0.1, "label_flips": 1, "integer_ops": 0, "fused_ops": 7},
        {"name": "int8", "accepted": True, "max_abs_error": 0.5, "label_flips": 2, "integer_ops": 9, "fused_ops": 3},
    ]
    folder = onnx_folder(tokenizer=True, facts={"target": "onnxruntime-cpu-int8", "stages": stages})
    (subject,) = measure([folder], task=task).subjects
    assert subject["target"] == "onnxruntime-cpu-int8"
    assert subject["parity"] == {"max_abs_error": 0.5, "label_flips": 2, "batch_invariance_flips": 0}
    assert (subject["integer_ops"], subject["fused_ops"]) == (9, 3)


@pytest.mark.parametrize(
    ("integers", "expected"),
    [
        ({"weight_bits": "8", "safe_on": "x86 with VNNI", "fast_on": "ARM"}, {"safe_on": "x86 with VNNI", "fast_on": "ARM"}),
        ({}, {}),
        (None, {}),
    ],
)
def test_an_int8_file_says_on_which_processors_it_is_right_and_fast(
    onnx_folder: Folder, task: Any, integers: Any, expected: dict[str, str]
) -> None:
    (subject,) = measure([onnx_folder(tokenizer=True, facts={"integers": integers})], task=task).subjects
    assert subject["processors"] == expected


def test_a_file_without_its_export_has_no_parity_but_its_invariance(onnx_folder: Folder, task: Any) -> None:
    # Unmasked, padding speaks for label 0: "a good film", "good" and "good plot" flip when they are padded to six tokens.
    (subject,) = measure([onnx_folder(tokenizer=True, masked=False)], task=task).subjects
    assert subject["parity"] == {"max_abs_error": None, "label_flips": None, "batch_invariance_flips": 3}


def test_a_model_in_memory_is_measured_beside_a_file(bert: Any, pair: list[Path], task: Any) -> None:
    import torch

    measurement = measure([bert, pair[0]], task=task, length=[10])
    tiny = measurement.subjects[0]
    assert (tiny["name"], tiny["kind"], tiny["target"], tiny["path"]) == ("tiny", "torch", "torch", None)
    # embeddings (12 + 40 + 2) * 8 + 16; layers 4 * (64 + 8) + 2 * 96 + 12 + 8 + 4 * 8; pooler 72; classifier 18
    assert tiny["parameters"] == 54 * 8 + 16 + 2 * (288 + 192 + 20 + 32) + 72 + 18
    assert tiny["macs"] == 2 * 6080 + 80  # worked out in test_counts.py
    assert tiny["size_bytes"] > 4 * tiny["parameters"]
    encoded = bert.tokenizer("a good film", return_tensors="pt")
    with torch.no_grad():
        assert measurement.predictions["tiny"][0] == pytest.approx(bert(**encoded).logits[0].numpy(), abs=1e-6)


def test_subjects_with_one_name_are_told_apart(pair: list[Path], task: Any) -> None:
    measurement = measure([pair[0], pair[0]], task=task)
    assert [subject["name"] for subject in measurement.subjects] == ["right", "right-2"]
    assert set(measurement.predictions) == {"right", "right-2"}


def test_an_unknown_baseline_is_refused(pair: list[Path], task: Any) -> None:
    with pytest.raises(InputError, match="baseline is 'teacher'; the subjects are right, wrong"):
        measure(pair, task=task, baseline="teacher")
    with pytest.raises(InputError, match="baseline is 'teacher'"):
        latencies(pair, baseline="teacher")


def test_a_model_for_another_number_of_labels_is_refused(pair: list[Path], make_task: Callable[..., Any]) -> None:
    three = make_task(labels=("bad", "good", "fair"))
    with pytest.raises(InputError, match=r"'right' has 2 labels, but the task has 3 \(bad, good, fair\)"):
        measure(pair, task=three)


def test_examples_that_are_not_for_evaluation_are_refused(pair: list[Path], make_task: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="only evaluation data may be used"):
        evaluate(pair[0], task=make_task(role="train"))


@pytest.mark.parametrize("name", ["batch", "length", "threads"])
@pytest.mark.parametrize("value", [8, "8", None])
def test_a_number_outside_a_list_is_refused(pair: list[Path], task: Any, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is {value!r}; a list of whole numbers is needed"):
        measure(pair, task=task, **{name: value})
    with pytest.raises(InputError, match=f"{name} is {value!r}; a list"):
        latencies(pair, **{name: value})


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_refused_before_anything_runs(
    pair: list[Path], task: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(foreign_file, "RuntimeProcess", None)
    steps: list[Any] = []
    for call in (
        lambda: measure(pair, task=task, device=device, progress=lambda *step: steps.append(step)),
        lambda: latencies(pair, device=device, progress=lambda *step: steps.append(step)),
        lambda: evaluate(pair[0], task=task, device=device),
    ):
        with pytest.raises(InputError, match=f"device is '{device}'"):
            call()
    assert steps == []


def test_a_length_that_is_too_long_is_refused_before_anything_runs(
    pair: list[Path], task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_file, "RuntimeProcess", None)
    with pytest.raises(InputError, match="length is 41"):
        measure(pair, task=task, length=[41])


def test_progress_is_told_for_each_subject(pair: list[Path], task: Any) -> None:
    steps: list[tuple[str, int, int]] = []
    measure(pair, task=task, rounds=1, progress=lambda *step: steps.append(step))
    assert steps == [
        ("evaluate right", 0, 2),
        ("evaluate wrong", 1, 2),
        ("time right", 0, 2),
        ("time wrong", 1, 2),
        ("time", 2, 2),
    ]


def test_latencies_need_no_data_and_keep_the_order(pair: list[Path]) -> None:
    rows = latencies(pair[::-1], batch=[1, 2], baseline="right").rows
    cells = [(row["name"], row["kind"], row["batch"], row["p50_ms"], row["speedup"], row["peak_memory_bytes"]) for row in rows]
    assert cells == [
        ("wrong", "onnx", 1, 2.0, 4.0, 5_000_000),
        ("wrong", "onnx", 2, 4.0, 4.0, 5_000_000),
        ("right", "onnx", 1, 8.0, 1.0, 5_000_000),
        ("right", "onnx", 2, 16.0, 1.0, 5_000_000),
    ]


def test_lengths_of_the_data_are_those_of_the_evaluation_part(pair: list[Path], task: Any) -> None:
    """Eight sentences of one to four words, each between two tokens more."""
    result = measure(pair, task=task, length=[8], lengths="data")
    fixed, of_data = result.subjects[0]["latency"]
    assert (fixed["length"], of_data["length"]) == (8, "data")
    assert of_data["tokens"]["mean"] == pytest.approx(np.mean([3, 3, 4, 1, 1, 3, 2, 3]) + 2, abs=0.05)
    assert result.conditions["rounds"] == 5
    with pytest.raises(InputError, match="lengths is 'texts'; 'data' is allowed"):
        measure(pair, task=task, lengths="texts")  # type: ignore[arg-type]


def test_a_subject_is_evaluated_without_being_timed(pair: list[Path], task: Any) -> None:
    scores = evaluate(str(pair[1]), task=task)
    low, high = scores.pop("metrics_ci95")["accuracy"]
    assert (low, round(high, 3)) == (0.0, 0.324)  # z² / (8 + z²)
    by_label = scores.pop("by_label")
    assert [(name, label["recall"], label["support"]) for name, label in by_label.items()] == [
        ("bad", 0.0, 4),
        ("good", 0.0, 4),
    ]
    assert scores.pop("reliability")["bins"] == [{"stated": pytest.approx(0.5585, abs=1e-4), "happened": 0.0, "count": 8}]
    assert scores == {
        "name": "wrong",
        "kind": "onnx",
        "target": "onnx",
        "path": str(pair[1]),
        "examples": 8,
        "truncated": 0,
        "unknown_tokens": 0.0,
        "max_length": 40,
        "labels": ["bad", "good"],
        "metrics": {"accuracy": 0.0},
        "confusion": [[0, 4], [4, 0]],
        "parity": {"max_abs_error": None, "label_flips": None, "batch_invariance_flips": 0},
    }


def test_the_text_is_a_table_of_the_first_combination(pair: list[Path], task: Any) -> None:
    lines = str(measure(pair, task=task, batch=[2, 1])).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split() for line in lines[1:]] == [
        ["right", "1.0000", "0.6756", "to", "1.0000", "+0.0000", "0.0", "16.00", "1.00x"],
        ["wrong", "0.0000", "0.0000", "to", "0.3244", "+1.0000", "0.0", "4.00", "4.00x"],
    ]


def test_the_front_holds_what_no_other_beats() -> None:
    facts = {"slow": (0.9, 8.0), "same": (0.9, 8.0), "fast": (0.8, 2.0), "beaten": (0.8, 3.0), "worst": (0.7, 9.0)}
    subjects = [
        {"name": name, "metrics": {"accuracy": accuracy}, "size_bytes": 5, "latency": [{"p50_ms": time}, {"p50_ms": 0.1}]}
        for name, (accuracy, time) in facts.items()
    ]
    front = Measurement(subjects, {}, {}, {}, {}, {}, {}).front()
    assert [(row["name"], row["on_front"]) for row in front] == [
        ("fast", True),
        ("beaten", False),
        ("slow", True),
        ("same", True),
        ("worst", False),
    ]


@pytest.mark.slow
def test_a_teacher_and_its_two_exports_are_measured_end_to_end(bert: Any, task: Any, tmp_path: Path) -> None:
    import compress as cp

    whole = cp.export(bert, tmp_path / "float", target="onnxruntime-cpu", task=task)
    small = cp.export(
        bert, tmp_path / "int8", target="onnxruntime-cpu-int8", task=task, max_flips=1.0, max_relative_error=10.0
    )
    measurement = cp.measure([bert, whole, small], task=task, batch=[1, 2], length=[10], rounds=2, samples=4)
    teacher, float_file, int8_file = measurement.subjects
    assert [(subject["name"], subject["kind"], subject["target"]) for subject in measurement.subjects] == [
        ("tiny", "torch", "torch"),
        ("float", "onnx", "onnxruntime-cpu"),
        ("int8", "onnx", "onnxruntime-cpu-int8"),
    ]
    assert np.abs(measurement.predictions["float"] - measurement.predictions["tiny"]).max() < 1e-5
    assert 0 < np.abs(measurement.predictions["int8"] - measurement.predictions["tiny"]).max() < 0.1
    assert (float_file["agreement"], float_file["drop"]["value"]) == (1.0, 0.0)
    # The teacher computes two whole layers at length 10, the file the second one's first token alone: its query and output
    # (64 each), the weights of keys and values once for each of two heads, two heads' products with ten hidden states of
    # width 8, the sum of the two heads' rows as a product, and the feed-forward part.
    second = 2 * 64 + 2 * 2 * 64 + 2 * 2 * 10 * 8 + 2 * 8 + 2 * 96
    assert teacher["macs"] == 2 * 6080 + 80
    assert float_file["macs"] == int8_file["macs"] == 6080 + second + 80
    assert float_file["integer_ops"] == 0
    assert int8_file["integer_ops"] > 0
    assert int8_file["parity"]["max_abs_error"] == small.stages[-1].max_abs_error
    assert float_file["parity"]["batch_invariance_flips"] == 0
    assert float_file["size_bytes"] == (whole.path / "model.onnx").stat().st_size
    for subject in measurement.subjects:
        assert [(row["batch"], len(row["samples"])) for row in subject["latency"]] == [(1, 8), (2, 8)]
        assert subject["peak_memory_bytes"] > 10_000_000
    middles = [np.median(subject["latency"][1]["samples"]) for subject in measurement.subjects]
    assert int8_file["latency"][1]["speedup"] == pytest.approx(middles[0] / middles[2], abs=1e-3)
    assert teacher["peak_memory_bytes"] > float_file["peak_memory_bytes"]  # torch against onnxruntime alone
