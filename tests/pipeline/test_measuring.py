"""What a run's files are measured as, and what is judged of them at its end."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress as cp
from compress.benchmark.measurement import Measurement
from compress.errors import GateMissed
from compress.pipeline import RunOptions, measuring, raise_for_gates, run, running
from compress.pipeline.tiny import tiny_plan
from compress.recipe import read_recipe
from compress.recipe.plan import Gates
from tests.pipeline import conftest
from tests.pipeline.conftest import write_data, write_recipe
from tests.tiny_models import tiny_bert

EXAMPLE = Path(__file__).parents[1] / "example_run.json"
EVERY_TARGET = (
    "onnxruntime-cpu",
    "openvino-cpu",
    "tensorrt-int8",
    "onnxruntime-cuda-fp16",
    "openvino-cpu-int8",
    "onnxruntime-cpu-int8",
)
STEPS = """
  - fine_tune: {epochs: 1, learning_rate: 1e-3, batch_size: 8}
    as: teacher
"""


def _tiny(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(**{"out": out, "tiny": True, "device": "cpu", **changes})


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, float]:
    """Runs of a moment that end with the measured subjects of an example, its int8 file some times slower than float."""
    how = {"factor": 2.0}
    subjects = json.loads(EXAMPLE.read_text(encoding="utf-8"))["subjects"]

    def measure(given: list[Any], **_: Any) -> Measurement:
        teacher, _, plain, int8 = copy.deepcopy(subjects)
        for row, other in zip(int8["latency"], plain["latency"], strict=True):
            row["p50_ms"] = other["p50_ms"] * how["factor"]
        measured = [teacher, plain, int8]
        logits = {subject["name"]: np.zeros((16, 2)) for subject in measured}
        return Measurement(
            measured,
            {name: [[8, 0], [0, 8]] for name in logits},
            logits,
            dict.fromkeys(logits),
            {"cpu": "a CPU"},
            {},
            {"warnings": ["others kept 1.0 of 2 processors busy"]},
        )

    def export_all(execution: Any, tiny: bool) -> dict[str, Path]:
        folders = {}
        for export in execution.plan.exports:
            folder = execution.cache.partial("exports", export.target)
            (folder / "model.onnx").write_bytes(b"")
            (folder / "config.json").write_text("{}")
            (folder / "bert_compress.json").write_text(json.dumps({"target": export.target}))
            folders[export.target] = execution.cache.finish("exports", export.target, {})
        return folders

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(measuring, "_read_back", lambda *_: None)
    monkeypatch.setattr(running, "_export_all", export_all)
    return how


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a plan with two exports and the given gates, which a tiny run would drop."""
    recipe = read_recipe(write_recipe(tmp_path, "[onnxruntime-cpu, onnxruntime-cpu-int8]", STEPS))

    def go(gates: Gates, name: str = "out") -> dict[str, Any]:
        monkeypatch.setattr(running, "tiny_plan", lambda plan: replace(tiny_plan(plan), gates=gates))
        return run(recipe, _tiny(tmp_path / name))

    return go


def test_a_run_whose_int8_file_is_slower_than_float_misses_a_gate(slower: dict[str, float], judged: Any) -> None:
    record = judged(Gates())
    (gate,) = record["gates"]
    assert (gate["name"], gate["limit"], gate["passed"]) == ("min_speedup_over_float", 1.0, False)
    assert gate["value"] == pytest.approx(0.5)
    with pytest.raises(GateMissed, match=r"min_speedup_over_float is 0\.5, limit 1"):
        raise_for_gates(record)


def test_a_run_whose_int8_file_is_slower_passes_where_the_recipe_allows_that(slower: dict[str, float], judged: Any) -> None:
    record = judged(Gates(allow_slower=True))
    assert record["gates"] == []
    raise_for_gates(record)


def test_a_run_whose_int8_file_is_faster_says_by_how_much(slower: dict[str, float], judged: Any) -> None:
    slower["factor"] = 0.25
    (gate,) = judged(Gates())["gates"]
    assert (gate["value"], gate["passed"]) == (pytest.approx(4.0), True)


def test_a_recipe_may_allow_a_slower_file(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "[onnxruntime-cpu-int8]")
    path.write_text(path.read_text() + "gates: {allow_slower: true}\n")
    assert read_recipe(path).gates == Gates(allow_slower=True)
    assert read_recipe(write_recipe(tmp_path)).gates.allow_slower is False


@pytest.mark.matrix
@pytest.mark.slow
def test_every_target_is_exported_measured_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibrated file needs more sentences than the other tests' data leave for calibration."""
    monkeypatch.setattr(conftest, "write_data", lambda folder: write_data(folder, 400))
    recipe = read_recipe(write_recipe(tmp_path, f"[{', '.join(EVERY_TARGET)}]", STEPS))
    record = run(recipe, _tiny(tmp_path / "out"))
    assert [entry["name"] for entry in record["subjects"]] == ["teacher", *EVERY_TARGET]
    assert [entry["kind"] for entry in record["subjects"]] == ["torch", "onnx", "openvino", "onnx", "onnx", "openvino", "onnx"]
    for subject in record["subjects"][1:]:
        assert subject["path"] == f"export/{subject['target']}" == f"export/{subject['name']}"
        assert (tmp_path / "out" / subject["path"] / "model.onnx").is_file()
        assert (subject["integer_ops"] > 0) is ("int8" in subject["target"])
        assert bool(subject["processors"]) is ("int8" in subject["target"])
        assert len(subject["latency"]) == 1
    assert record["gates"] == []
    exported = {path: path.stat().st_mtime_ns for path in (tmp_path / ".cache" / "exports").glob("*/model.onnx")}
    assert len(exported) == len(EVERY_TARGET)
    again = run(recipe, _tiny(tmp_path / "out"))
    assert again["subjects"] == record["subjects"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / ".cache" / "exports").glob("*/model.onnx")} == exported


def test_an_int8_file_without_integer_operators_is_said_to_be_smaller_alone() -> None:
    *_, int8 = json.loads(EXAMPLE.read_text(encoding="utf-8"))["subjects"]
    assert not any("integer operator" in note for note in measuring.notes([int8]))
    notes = measuring.notes([int8 | {"integer_ops": 0}])
    assert any("runs no integer operator: its tables are smaller" in note for note in notes)


def test_a_model_that_reads_less_than_the_texts_is_told_of() -> None:
    *_, file = json.loads(EXAMPLE.read_text(encoding="utf-8"))["subjects"]
    assert not any("longer than" in note for note in measuring.notes([file]))
    models = [{**file, "name": name, "truncated": count} for name, count in (("a", 37), ("b", 1), ("c", 37))]
    notes = [note.partition(", judged")[0] for note in measuring.notes(models) if "longer than" in note]
    assert notes == [
        "texts of the evaluation part that are longer than what a, c may read: 37",
        "texts of the evaluation part that are longer than what b may read: 1",
    ]


@pytest.mark.slow
def test_the_model_that_comes_in_may_be_the_baseline(tmp_path: Path) -> None:
    """Its folder is nobody's result, and it is measured as any other."""
    folder = cp.save(tiny_bert(labels=("0", "1"), max_position_embeddings=128), tmp_path / "model")
    path = write_recipe(tmp_path, steps=STEPS)
    small = "benchmark: {batch: [1], length: [8], threads: [1], rounds: 1, seconds: 0.02, baseline: model}\n"
    text = path.read_text(encoding="utf-8").replace("stands/for-nothing", str(folder)) + small
    path.write_text(text.replace("}}\nsteps", "}, allow_unknown: true}\nsteps"), encoding="utf-8")
    record = run(read_recipe(path), RunOptions(out=tmp_path / "out", device="cpu"))
    assert [subject["name"] for subject in record["subjects"]] == ["model", "teacher"]
    assert record["subjects"][0]["drop"]["value"] == 0.0
    assert record["subjects"][0]["path"] == str(folder)
    again = run(read_recipe(path), RunOptions(out=tmp_path / "out", device="cpu"))
    assert again["subjects"] == record["subjects"]
