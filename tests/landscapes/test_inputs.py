"""Which models and which task are meant: folders, runs and their steps, recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.landscapes.inputs import models_named, plan_of
from compress.models.heads import with_new_head
from compress.tasks.labelled import Task
from tests.tiny_models import differences, state_of, tiny_bert

STEPS: list[dict[str, Any]] = [
    {"fine_tune": {"epochs": 1, "new_head": False, "class_weights": None}, "as": "teacher"},
    {"drop_layers": {"keep": [0], "layers": None}, "as": "drop_layers"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with two steps, as it stands in run.json; what was given to a step as nothing is null there."""
    model = tiny_bert()
    cp.save(model, tmp_path / "model")
    cp.save(tiny_bert(seed=4), tmp_path / "run" / "steps" / "1-fine_tune")
    cp.save(cp.drop_layers(model, keep=[0]), tmp_path / "run" / "steps" / "2-drop_layers")
    recipe = {
        "name": "demo",
        "seed": 5,
        "model": str(tmp_path / "model"),
        "task": {"data": "sst2"},
        "steps": STEPS,
        "export": [],
    }
    (tmp_path / "run" / "run.json").write_text(json.dumps({"schema": 1, "recipe": recipe}))
    return tmp_path


def test_a_run_stands_for_its_start_and_its_steps(folder: Path, toy: Task) -> None:
    names = [str(folder / "run")]
    plan = plan_of(None, names)
    assert (plan.name, plan.seed) == ("demo", 5)
    models = models_named(names, plan, toy)
    assert list(models) == ["model", "teacher", "drop_layers"]
    assert not differences(state_of(models["model"]), state_of(tiny_bert()))
    assert not differences(state_of(models["teacher"]), state_of(tiny_bert(seed=4)))
    assert models["drop_layers"].config.num_hidden_layers == 1


@pytest.mark.parametrize("name", ["run", "run/steps/1-fine_tune"])
def test_a_step_s_task_is_that_of_its_run(name: str, folder: Path) -> None:
    assert plan_of(None, [str(folder / "model"), str(folder / name)]).name == "demo"
    assert plan_of(str(folder / "run"), ["anything"]).name == "demo"


def test_a_recipe_tells_the_task_too(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: own\nseed: 8\nmodel: {folder / 'model'}\ntask: {{data: sst2}}\nsteps: [{{drop_layers: {{keep: [0]}}}}]\n"
    )
    assert plan_of(str(path), []).seed == 8


def test_what_has_no_head_gets_the_one_that_a_run_begins_with(folder: Path, toy: Task) -> None:
    run = json.loads((folder / "run" / "run.json").read_text())
    run["recipe"]["steps"][0]["fine_tune"]["new_head"] = True
    (folder / "run" / "run.json").write_text(json.dumps(run))
    names = [str(folder / "run")]
    start = models_named(names, plan_of(None, names), toy)["model"]
    fresh = with_new_head(tiny_bert(), toy.labels, 5, toy.rules.head)
    assert not torch.equal(start.classifier.weight, tiny_bert().classifier.weight)
    assert torch.equal(start.classifier.weight, fresh.classifier.weight) or start.has_new_head


def test_no_task_the_same_model_twice_and_no_such_folder_are_refused(folder: Path, toy: Task) -> None:
    with pytest.raises(InputError, match=r"^--task-of is missing, and '.* is no run, nor a step of one"):
        plan_of(None, [str(folder / "model")])
    plan = plan_of(str(folder / "run"), [])
    with pytest.raises(InputError, match=r"is given twice; give each model once"):
        models_named([str(folder / "model")] * 2, plan, toy)
    with pytest.raises(InputError, match=r"is no folder"):
        models_named([str(folder / "nowhere")], plan, toy)
    with pytest.raises(InputError, match=r"no run\.json"):
        plan_of(str(folder), [])
