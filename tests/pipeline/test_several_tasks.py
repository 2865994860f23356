"""A recipe whose file answers several tasks: what the others learned counts, and is looked at before any work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.errors import InputError
from compress.models.checkpoint.adapters import DESCRIPTION
from compress.models.checkpoint.saving import write_model
from compress.pipeline import RunOptions, run, running
from compress.pipeline.tiny import tiny_plan
from compress.recipe import Plan, read_recipe
from compress.tasks.labelled import Task
from tests.pipeline.conftest import write_recipe
from tests.pipeline.run_unmeasured import bare
from tests.tiny_models import tiny_bert

HOW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2}
STEPS = "\n  - fine_tune: {train: {adapters: {size: 3}}, epochs: 1, batch_size: 8, learning_rate: 1e-2, new_head: true}\n"


def learned(folder: Path, task: Task, rate: float) -> None:
    """Save the adapters of a task that learned beside the encoder of `write_model(tiny_bert())`."""
    tuned = cp.fine_tune(
        tiny_bert(), task=task, new_head=True, train={"adapters": {"size": 3}}, **HOW | {"learning_rate": rate}
    )
    cp.save_adapters(tuned, folder)


@pytest.fixture
def several(tmp_path: Path, toy: Task) -> Plan:
    (tmp_path / "model").mkdir()
    write_model(tiny_bert(), tmp_path / "model")
    learned(tmp_path / "topic", replace(toy, labels=("no", "yes")), 1e-2)
    exports = f"[onnxruntime-cpu: {{adapters: ['{tmp_path / 'topic'}']}}]"
    plan = read_recipe(write_recipe(tmp_path, exports=exports, steps=STEPS))
    return replace(plan, model=str(tmp_path / "model"), benchmark=replace(plan.benchmark, length=(8,)))


@pytest.mark.slow
@pytest.mark.matrix
def test_other_adapters_in_the_same_folder_make_another_file(
    several: Plan, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports: dict[str, Path] = {}

    def ended(execution: Any, shipped: dict[str, Path], *rest: Any) -> Any:
        exports.update(shipped)
        return bare(execution, shipped, *rest)

    monkeypatch.setattr(running, "measure_run", ended)

    def shipped(plan: Plan, out: Path) -> Path:
        run(plan, RunOptions(out=out, device="cpu"))
        return exports["onnxruntime-cpu"]

    first = shipped(several, tmp_path / "out")
    tasks = json.loads((first / "bert_compress.json").read_text())["tasks"]
    assert [task["name"] for task in tasks][1:] == ["topic"]
    file = (first / "model.onnx").read_bytes()
    assert (shipped(several, tmp_path / "out") / "model.onnx").read_bytes() == file
    for path in (tmp_path / "topic").iterdir():
        path.unlink()
    (tmp_path / "topic").rmdir()
    learned(tmp_path / "topic", replace(toy, labels=("no", "yes")), 3e-2)
    assert (shipped(several, tmp_path / "out") / "model.onnx").read_bytes() != file


@pytest.mark.usefixtures("unmeasured")
def test_adapters_of_no_such_layers_are_refused_before_a_step_trains(
    several: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = json.loads((tmp_path / "topic" / DESCRIPTION).read_text())
    description["sizes"] = {"bert.encoder.layer.9.output.dense": 3}
    (tmp_path / "topic" / DESCRIPTION).write_text(json.dumps(description))
    monkeypatch.setattr("compress.training.loop._prepare", lambda *_, **__: pytest.fail("a step trained"))
    with pytest.raises(InputError, match="adapters of a model with other layers"):
        run(several, RunOptions(out=tmp_path / "out", device="cpu"))


def test_a_tiny_run_leaves_out_what_belongs_to_another_model(several: Plan) -> None:
    assert tiny_plan(several).exports[0].options["adapters"] is None
    plain = replace(several, exports=(replace(several.exports[0], options={}),))
    assert tiny_plan(plain).exports == plain.exports
