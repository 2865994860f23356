"""A trial is run once, in a process that may end in any way; and it is judged on the selection part alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from compress.errors import CompressError
from compress.pipeline import RunOptions, running
from compress.recipe import Plan, read_recipe
from compress.search import trial as trials
from compress.search.child import outcome
from compress.search.trial import Trial, run_trial, spelled, trial_of
from tests.pipeline.conftest import write_recipe
from tests.tiny_models import toy_task

ROOT = Path(__file__).parents[2]
STUB = "tests.search.stub_child"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the stub in place of a run."""
    monkeypatch.setattr(trials, "CHILD", STUB)


def starts(out: Path) -> list[int]:
    return [int(line) for line in (out / "starts").read_text().split()]


def test_a_trial_ends_with_its_outcome_and_is_not_run_twice(stub: None, tmp_path: Path) -> None:
    out = tmp_path / "trials" / "0"
    first = run_trial("name: a", {"seed": 3}, out=out, cache=tmp_path / "cache")
    assert (first.status, first.quality, first.overrides, first.folder) == ("complete", 0.5, {"seed": 3}, out)
    again = run_trial("name: a", {"seed": 3}, out=out, cache=tmp_path / "other")
    assert again == first
    assert first.seconds > 0
    assert len(starts(out)) == 1
    run_trial("name: a", {"seed": 4}, out=out, cache=tmp_path / "cache")
    assert len(starts(out)) == 2


def test_what_fails_is_kept_with_its_error_and_runs_again(stub: None, tmp_path: Path) -> None:
    for number in (1, 2):
        failed = run_trial({"name": "a"}, {"do": "fail"}, out=tmp_path / "t", cache=tmp_path)
        assert (failed.status, failed.error, failed.exit_code) == ("failed", "no such layer", 1)
        assert len(starts(tmp_path / "t")) == number
    kept = json.loads((tmp_path / "t" / "trial.json").read_text())["trial"]
    assert kept["error"] == "no such layer"
    assert trial_of(kept | {"of_a_later_version": 1}) == failed


@pytest.mark.parametrize(
    ("do", "limits", "said"),
    [
        ("crash", {}, r"crashed \(signal 11\)"),
        ("killed", {}, "memory ran out"),
        ("memory", {}, r"memory ran out.*7 PB"),
        ("sleep", {"time_limit": 0.2}, "more than 0.2 seconds"),
        ("grow", {"memory_bytes": 150_000_000}, r"more than the 0.15 GB allowed"),
    ],
)
def test_however_its_process_ends_the_trial_has_failed_and_nothing_else(
    stub: None, tmp_path: Path, do: str, limits: dict[str, Any], said: str
) -> None:
    failed = run_trial("", {"do": do}, out=tmp_path, cache=tmp_path / "cache", **limits)
    assert (failed.status, failed.exit_code, failed.quality) == ("failed", 1, None)
    assert re.search(said, failed.error, re.DOTALL), failed.error


def test_the_process_of_a_trial_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from compress.search import trial\n"
        f"trial.CHILD = {STUB!r}\n"
        "trial.run_trial('', {'do': 'sleep'}, out=Path(sys.argv[1]), cache=Path(sys.argv[1]))"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    while not (tmp_path / "starts").exists() or not starts(tmp_path):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    child = starts(tmp_path)[0]
    for _ in range(200):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("it lives on")


def test_a_folder_that_cannot_be_written_is_an_error(stub: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompressError, match="cannot be written"):
        run_trial("", out=tmp_path / "file" / "t", cache=tmp_path)


def test_overrides_are_spelled_as_on_the_command_line_whole_steps_first() -> None:
    given = {"steps.distill.learning_rate": 1e-5, "steps.1": {"drop_layers": {"keep": [0]}}, "name": 'a "b"'}
    assert spelled(given) == [
        'name="a \\"b\\""',
        'steps.1={"drop_layers": {"keep": [0]}}',
        "steps.distill.learning_rate=1e-05",
    ]


def test_the_outcome_is_that_of_the_last_subject_at_the_main_setting(tmp_path: Path) -> None:
    rows = [
        {"device": "cpu", "batch": 8, "length": 32, "threads": 1, "p50_ms": 9.0, "p95_ms": 10.0, "speedup": 2.0},
        {"device": "cpu", "batch": 1, "length": 32, "threads": 1, "p50_ms": 1.5, "p95_ms": 2.5, "speedup": 4.0},
    ]
    subjects: list[dict[str, Any]] = [
        {"target": "torch", "metrics": {"accuracy": 0.9}, "size_bytes": 90, "latency": rows},
        {"target": "onnxruntime-cpu", "metrics": {"accuracy": 0.8, "f1": 0.1}, "size_bytes": 20, "latency": rows},
    ]
    record = {"subjects": subjects, "gates": [{"name": "max_drop", "passed": False}, {"name": "min_speedup", "passed": True}]}
    request = {"overrides": {"seed": 1}, "judged_on": "selection"}
    assert outcome(record, request, tmp_path) == Trial(
        {"seed": 1},
        "complete",
        tmp_path,
        target="onnxruntime-cpu",
        metric="accuracy",
        quality=0.8,
        speedup=4.0,
        p50_ms=1.5,
        p95_ms=2.5,
        size_bytes=20,
        missed=("max_drop",),
    )


def test_what_is_judged_on_the_selection_part_has_no_row_of_the_evaluation_part() -> None:
    task = toy_task()
    judged = task.judged_on_selection()
    assert judged.evaluation.texts == task.selection.texts
    assert judged.evaluation.role == "evaluation"
    assert judged.further is None
    assert all(split.texts != task.evaluation.texts for split in judged.splits())
    assert judged.fingerprint != task.fingerprint


def test_measuring_gets_a_task_without_the_evaluation_rows_and_steps_share_their_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Plan = read_recipe(write_recipe(tmp_path, steps="\n  - drop_layers: {keep: [1]}\n"))
    seen: list[Any] = []

    def spy(execution: Any, shipped: Any, out: Path, record: dict[str, Any], clock: float) -> dict[str, Any]:
        seen.append(execution)
        return record

    monkeypatch.setattr(running, "measure_run", spy)
    cache = tmp_path / "cache"
    for part in ("evaluation", "selection"):
        record = running.run(plan, RunOptions(out=tmp_path / part, cache=cache, tiny=True, device="cpu", judged_on=part))
    whole, chosen = (execution.task for execution in seen)
    assert set(chosen.evaluation.texts) == set(whole.selection.texts)
    assert not {text for split in chosen.splits() for text in split.texts} & set(whole.evaluation.texts)
    assert [step.records[0]["status"] for step in seen] == ["computed", "reused"]
    assert record["data"]["judged_on"] == "selection"


@pytest.mark.slow
@pytest.mark.matrix
def test_a_trial_of_a_recipe_measures_the_shipped_file_whatever_the_evaluation_rows_say(tmp_path: Path) -> None:
    text = write_recipe(tmp_path, exports="[onnxruntime-cpu: {}]", steps="\n  - drop_layers: {keep: [1]}\n").read_text()
    evaluated = tmp_path / "evaluated.tsv"
    text = text.replace("reviews.tsv}", f"reviews.tsv, validation: {evaluated}}}")
    text += "benchmark: {batch: [1], length: [8], rounds: 1, seconds: 0.01}\n"
    qualities = []
    for labels in ((0, 1), (1, 0)):
        rows = [f"words of evaluation {row}\t{labels[row % 2]}" for row in range(20)]
        evaluated.write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
        out = tmp_path / f"trial-{labels[0]}"
        done = run_trial(text, out=out, cache=tmp_path / "cache", tiny=True, device="cpu")
        assert done.status == "complete", done.error
        assert (done.target, done.metric, done.judged_on) == ("onnxruntime-cpu", "accuracy", "selection")
        assert done.p50_ms is not None
        assert done.size_bytes == (out / "run/export/onnxruntime-cpu/model.onnx").stat().st_size
        assert read_recipe(out / "recipe.yaml").name == "small"
        qualities.append(done.quality)
    assert qualities[0] == qualities[1]


@pytest.mark.slow
def test_a_recipe_with_a_mistake_is_a_failed_trial_with_exit_code_2(tmp_path: Path) -> None:
    text = write_recipe(tmp_path).read_text()
    failed = run_trial(text, {"steps.distill.learning_rat": 1e-4}, out=tmp_path / "t", cache=tmp_path / "cache")
    assert (failed.status, failed.exit_code) == ("failed", 2)
    assert "did you mean 'learning_rate'?" in failed.error
