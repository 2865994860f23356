from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from filelock import FileLock

from compress.benchmark.measurement import evaluate
from compress.errors import CompressError, GateMissed, InputError
from compress.models.checkpoint.saving import write_model
from compress.pipeline import RunOptions, raise_for_gates, run
from compress.recipe import Plan
from compress.recipe.reading import read_recipe_text
from compress.tasks import task as read_task
from tests.pipeline.conftest import weights_of
from tests.tiny_models import tiny_bert


def _statuses(record: dict[str, Any]) -> list[str]:
    return [step["status"] for step in record["steps"]]


def _tiny(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(**{"out": out, "tiny": True, "device": "cpu", **changes})


@pytest.mark.usefixtures("unmeasured")
def test_a_second_run_reuses_every_step(plan: Plan, tmp_path: Path) -> None:
    first = run(plan, _tiny(tmp_path / "out"))
    second = run(plan, _tiny(tmp_path / "out"))
    assert _statuses(first) == ["computed"] * 3
    assert _statuses(second) == ["reused"] * 3
    assert [step["key"] for step in first["steps"]] == [step["key"] for step in second["steps"]]


@pytest.mark.usefixtures("unmeasured")
def test_an_argument_of_a_late_step_makes_only_that_step_anew(plan: Plan, tmp_path: Path) -> None:
    run(plan, _tiny(tmp_path / "out"))
    last = replace(plan.steps[2], arguments=plan.steps[2].arguments | {"temperature": 3.0})
    record = run(replace(plan, steps=(*plan.steps[:2], last)), _tiny(tmp_path / "out"))
    assert _statuses(record) == ["reused", "reused", "computed"]


@pytest.mark.usefixtures("unmeasured")
def test_another_seed_makes_everything_anew_but_gives_other_weights(plan: Plan, tmp_path: Path) -> None:
    run(plan, _tiny(tmp_path / "one"))
    record = run(replace(plan, seed=plan.seed + 1), _tiny(tmp_path / "two"))
    assert _statuses(record) == ["computed"] * 3
    first, second = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("unmeasured")
def test_the_same_seed_gives_the_same_weights_without_cache(plan: Plan, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(plan, _tiny(tmp_path / name, cache=tmp_path / f"cache-{name}"))
    first, second = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("unmeasured")
def test_a_run_folder_holds_a_link_for_each_step_and_a_log(plan: Plan, tmp_path: Path) -> None:
    run(plan, _tiny(tmp_path / "out"))
    names = sorted(path.name for path in (tmp_path / "out" / "steps").iterdir())
    assert names == ["1-fine_tune", "2-drop_layers", "3-distill"]
    assert "teacher (fine_tune) starts" in (tmp_path / "out" / "logs" / "run.log").read_text(encoding="utf-8")


@pytest.mark.usefixtures("unmeasured")
def test_a_read_only_cache_is_read_and_new_results_go_beside(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    run(replace(plan, steps=plan.steps[:1]), _tiny(tmp_path / "one", cache=cache))
    before = sorted(path for path in cache.rglob("*"))
    touch = Path.touch

    def refused(path: Path, *rest: Any, **more: Any) -> None:
        if cache in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        touch(path, *rest, **more)

    monkeypatch.setattr(Path, "touch", refused)  # a folder's mode does not stop root
    with caplog.at_level(logging.WARNING, "compress"):
        record = run(plan, _tiny(tmp_path / "two", cache=cache))
    assert "read-only" in caplog.text
    assert sorted(path for path in cache.rglob("*")) == before
    made = {path.name for path in (tmp_path / "two" / "cache" / "steps").iterdir() if path.is_dir()}
    assert {step["key"] for step in record["steps"] if step["status"] == "computed"} == made


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is read-only for root")
@pytest.mark.usefixtures("unmeasured")
def test_a_cache_folder_without_write_permission_is_told(plan: Plan, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    run(plan, _tiny(tmp_path / "out", cache=cache))
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("unmeasured")
def test_a_full_disk_is_told_and_earlier_steps_stay(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.pipeline import steps

    write, calls = steps.write_model, []

    def full(model: Any, folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(folder))
        write(model, folder)

    monkeypatch.setattr(steps, "write_model", full)
    with pytest.raises(CompressError, match=r"is full .* Finished steps are kept"):
        run(plan, _tiny(tmp_path / "out"))
    assert not (tmp_path / "out" / "run.json").exists()
    monkeypatch.setattr(steps, "write_model", write)
    assert _statuses(run(plan, _tiny(tmp_path / "out"))) == ["reused", "reused", "computed"]


@pytest.mark.usefixtures("unmeasured")
def test_a_failed_run_leaves_the_earlier_record_alone(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.pipeline import steps

    run(plan, _tiny(tmp_path / "out"))
    before = (tmp_path / "out" / "run.json").read_bytes()

    def broken(model: Any, folder: Path) -> None:
        raise CompressError("broken on purpose")

    monkeypatch.setattr(steps, "write_model", broken)
    with pytest.raises(CompressError, match="on purpose"):
        run(replace(plan, seed=99), _tiny(tmp_path / "out"))
    assert (tmp_path / "out" / "run.json").read_bytes() == before


@pytest.mark.usefixtures("unmeasured")
def test_a_model_that_answers_differently_when_loaded_again_is_not_kept(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.pipeline import steps

    write = steps.write_model

    def altered(model: Any, folder: Path) -> None:
        with torch.no_grad():
            model.classifier.bias.add_(1.0)
        write(model, folder)
        with torch.no_grad():
            model.classifier.bias.sub_(1.0)

    monkeypatch.setattr(steps, "write_model", altered)
    with pytest.raises(CompressError, match="answers differently when loaded again"):
        run(plan, _tiny(tmp_path / "out"))
    assert not [path for path in (tmp_path / ".cache" / "steps").iterdir() if path.is_dir() and path.suffix != ".partial"]


@pytest.mark.usefixtures("unmeasured")
def test_two_runs_into_one_folder_are_refused(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(InputError, match="another run is writing"):
        run(plan, _tiny(tmp_path / "out"))


def test_an_out_that_is_a_file_is_refused(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run(plan, _tiny(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.usefixtures("unmeasured")
def test_what_trackers_write_stays_in_the_run_folder(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wrote beside the checkpoints, which go when a step ends."""
    folders: list[str] = []

    def noted(*rest: Any, **named: Any) -> Accelerator:
        folders.append(named["project_dir"])
        return Accelerator(*rest, **named)

    monkeypatch.setattr("compress.training.loop.Accelerator", noted)
    run(plan, _tiny(tmp_path / "out"))
    assert folders == [str(tmp_path / "out" / "logs" / name) for name in ("teacher", "distill")]
    assert os.listdir(tmp_path / "out" / "logs") == ["run.log"]  # no tracker was asked for


@pytest.mark.matrix
@pytest.mark.slow
def test_two_processes_share_one_cache(tmp_path: Path) -> None:
    from tests.pipeline.conftest import write_recipe

    recipe = write_recipe(tmp_path)
    script = Path(__file__).with_name("run_unmeasured.py")
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(recipe), str(tmp_path / name), str(tmp_path / "cache")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    first, second = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert [step["key"] for step in first["steps"]] == [step["key"] for step in second["steps"]]
    for mine, other in zip(first["steps"], second["steps"], strict=True):
        assert sorted([mine["status"], other["status"]]) in (["computed", "reused"], ["reused", "reused"])


def test_missed_gates_are_told_with_value_and_limit() -> None:
    gates = [
        {"name": "max_drop", "limit": 0.01, "value": 0.0312, "passed": False},
        {"name": "min_speedup", "limit": 4.0, "value": 7.0, "passed": True},
    ]
    with pytest.raises(GateMissed, match=r"max_drop is 0.0312, limit 0.01") as raised:
        raise_for_gates({"gates": gates})
    assert raised.value.exit_code == 3
    assert "min_speedup" not in str(raised.value)
    raise_for_gates({"gates": gates[1:]})


@pytest.mark.matrix
def test_a_model_that_reads_less_than_the_task_s_texts_is_exported_and_measured_on_what_it_reads(tmp_path: Path) -> None:
    lines = [f"{'it was a film ' * 12}{('good', 'bad')[index % 2]} {index}\t{index % 2}" for index in range(160)]
    (tmp_path / "long.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    write_model(tiny_bert(labels=("0", "1")), tmp_path / "model")
    plan = read_recipe_text(f"""
name: long
model: {tmp_path / "model"}
task: {{data: {{train: {tmp_path / "long.tsv"}}}, max_length: 40}}
steps:
  - fine_tune: {{max_length: 24, epochs: 1}}
export:
  - onnxruntime-cpu-int8: {{}}
benchmark: {{batch: [1], length: [24], threads: [1], rounds: 1, seconds: 0.02}}
gates: {{allow_slower: true, max_drop: 1.0}}
""")
    record = run(plan, RunOptions(out=tmp_path / "out", device="cpu"))
    assert [subject["target"] for subject in record["subjects"]] == ["torch", "onnxruntime-cpu-int8"]
    for subject in record["subjects"]:
        scores = evaluate(tmp_path / "out" / subject["path"], task=read_task(**plan.task))
        assert scores["truncated"] == scores["examples"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["[]", "[{prune_ffn: {fraction: 0.5}}]", "[{fine_tune: {epochs: 1}}]"])
def test_a_model_that_reads_less_than_the_task_s_texts_runs_whatever_comes_first(
    steps: str, tmp_path: Path, unmeasured: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{('bad', 'good')[index % 2]} {'it was a film ' * 12} {index}\t{index % 2}" for index in range(160)]
    (tmp_path / "long.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n", encoding="utf-8")
    data = f"{{train: {tmp_path / 'long.tsv'}}}"
    (tmp_path / "model").mkdir()
    write_model(tiny_bert(labels=("0", "1")), tmp_path / "model")
    monkeypatch.setattr("compress.tasks.chance.assert_better_than_chance", lambda *_: None)
    recipe = (
        f"name: long\nmodel: {tmp_path / 'model'}\ntask: {{data: {data}, max_length: 40}}\nsteps: {steps}\n"
        f"export: {'[{onnxruntime-cpu: {}}]' if steps == '[]' else '[]'}\n"
        "benchmark: {length: [24]}\n"
    )
    run(read_recipe_text(recipe), RunOptions(out=tmp_path / "out", device="cpu"))
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("compress.tasks")]
    assert [text.partition(":")[0] for text in warnings] == ["the model reads 24 tokens at most"]
