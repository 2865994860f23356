"""Find the models of a landscape, and their task, by what runs and recipes say of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.errors import InputError, shown
from compress.models.checkpoint.loading import load
from compress.pipeline.checks import begins_anew
from compress.pipeline.measuring import folder_name
from compress.pipeline.run_files import STEPS
from compress.recipe import INPUT_MODEL, Plan, read_recipe, read_recipe_text
from compress.reporting.reading import RUN_JSON, read_run

if TYPE_CHECKING:
    from compress.tasks.labelled import Task


def plan_of(task_of: str | None, names: Sequence[str]) -> Plan:
    """Read the recipe that tells task, labels and seed.

    Args:
        task_of: A recipe, or the folder of a run; None takes the run that the first of the models is of.
        names: Of the models.

    Raises:
        InputError: It is neither, or none of the models is of a run.
    """
    if task_of is not None:
        path = Path(task_of).expanduser()
        return _plan_of_run(path) if path.is_dir() else read_recipe(path)
    runs = [folder for name in names for folder in _runs_of(name)]
    if not runs:
        raise InputError(
            f"--task-of is missing, and {', '.join(shown(name) for name in names)} is no run, nor a step of one, that tells "
            "the task; name a recipe or the folder of a run."
        )
    return _plan_of_run(runs[0])


def models_named(names: Sequence[str], plan: Plan, task: Task) -> dict[str, PreTrainedModel]:
    """Load the models, each with the task's labels; the folder of a run stands for the model that it began with and the models
    of its steps, in their order.

    What has no head gets a new one by the recipe's seed, the very one that a run begins with.

    Args:
        names: Folders, runs, package:NAME or hub names.
        plan: Tells seed and first model.
        task: Tells the labels.

    Raises:
        InputError: There is no such model, it is for other labels, or it is given twice.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{shown(twice)} is given twice; give each model once.")
    models: dict[str, PreTrainedModel] = {}
    for name in names:
        folder = Path(name).expanduser()
        if not (folder / RUN_JSON).is_file():
            models[_name_of(folder.name, name, models)] = _loaded(name, plan, task)
            continue
        run = _plan_of_run(folder)
        models[_name_of(INPUT_MODEL, f"{name}/{INPUT_MODEL}", models)] = _loaded(run.model, run, task)
        for number, step in enumerate(run.steps, 1):
            path = folder / STEPS / folder_name(number, step)
            models[_name_of(step.name, str(path), models)] = _loaded(str(path), run, task)
    return models


def _loaded(name: str, plan: Plan, task: Task) -> PreTrainedModel:
    new_head = name == plan.model and begins_anew(plan)
    return load(name, labels=task.labels, head=task.rules.head, seed=plan.seed, new_head=new_head)


def _name_of(short: str, long: str, taken: dict[str, PreTrainedModel]) -> str:
    name = short.removeprefix("package:") or long
    return long if name in taken else name


def _runs_of(name: str) -> list[Path]:
    """The run that a folder is, or of which it is a step."""
    folder = Path(name).expanduser()
    above = folder.parent.parent if folder.parent.name == STEPS else folder
    return [run for run in (folder, above) if (run / RUN_JSON).is_file()][:1]


def _plan_of_run(folder: Path) -> Plan:
    """The recipe of a run, as run.json has it."""
    return read_recipe_text(json.dumps(read_run(folder).get("recipe") or {}), source=str(folder / RUN_JSON))
