"""Every recipe of the repository is rehearsed from its first step to its last, with a random model and a few sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.pipeline import RunOptions
from compress.pipeline.cache import Cache
from compress.pipeline.checks import rehearse
from compress.pipeline.steps import Execution, StepOutput
from compress.pipeline.tiny import EXAMPLES, tiny_model, tiny_plan
from compress.recipe import read_recipe
from compress.recipe.plan import INPUT_MODEL
from compress.tasks import task as read_task
from tests.pipeline.conftest import write_data
from tests.pipeline.test_recipes import RECIPES, ROOT, with_own_data
from tests.pruning.times import stand_in_for_timing


def _one_example(model: Any, given: Any, named: dict[str, Any]) -> None:
    """How large a teacher's answers are is told by its answer to the shortest example."""
    if len(named["input_ids"]) > 1:
        pytest.fail("the model ran")


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_passes_its_rehearsal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_timing(monkeypatch)
    monkeypatch.setattr("compress.training.loop._prepare", lambda *_, **__: pytest.fail("a step trained"))
    plan = tiny_plan(with_own_data(read_recipe(ROOT / name), tmp_path))
    task = read_task(**plan.task).capped(EXAMPLES)
    execution = Execution(plan, task, Cache(tmp_path / "cache"), RunOptions(device="cpu", tiny=True))
    model = tiny_model(plan, task, plan.seed)
    model.register_forward_pre_hook(_one_example, with_kwargs=True)
    rehearse(execution, StepOutput(INPUT_MODEL, "key", None, model))
    assert not list(execution.cache.root.glob("*/*"))
    assert len(execution.keys) == len(plan.steps)


def test_what_a_recipe_s_last_step_gets_wrong_is_told(tmp_path: Path) -> None:
    """A recipe of many steps, so that what passes above passes for a reason."""
    plan = tiny_plan(read_recipe(ROOT / "sst2/albert_all_shared.yaml"))
    last = replace(plan.steps[-1], arguments=plan.steps[-1].arguments | {"layers": [1]})
    task = read_task(kind="text-classification", data={"train": str(write_data(tmp_path, rows=400))}).capped(EXAMPLES)
    execution = Execution(
        replace(plan, steps=(*plan.steps[:-1], last)),
        task,
        Cache(tmp_path / "cache"),
        RunOptions(device="cpu", tiny=True),
    )
    with pytest.raises(InputError, match="layers"):
        rehearse(execution, StepOutput(INPUT_MODEL, "key", None, tiny_model(plan, task, plan.seed)))
