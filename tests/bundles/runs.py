"""A finished run of any kind of task, without the hours: a tiny model under steps/, its data, and the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import compress as cp
from compress.marks import write_mark
from tests.tasks.kinds import ROWS
from tests.tiny_models import LONGEST, tiny_for, tiny_of

STEP = "1-fine_tune"


def task_options(kind: str, folder: Path) -> dict[str, Any]:
    """The task of a recipe, with data that is written to a folder."""
    data = {"train": str(ROWS[kind](folder, 160))}
    return {"data": data, "kind": kind, "max_length": LONGEST, "allow_unknown": True}


def finished_run(
    folder: Path, kind: str = "text-classification", *, model: Any = None, family: str = "", seed: int = 3
) -> Path:
    """Write a run folder.

    Args:
        folder: Its data go there too.
        kind: Of the task.
        model: The last model; a random one if None.
        family: Of the random one; BERT if empty.
        seed: For its weights.
    """
    options = task_options(kind, folder)
    task = cp.task(**options)
    if model is None:
        model = tiny_of(family, task=task, seed=seed) if family else tiny_for(task, seed=seed)
    run = folder / "run"
    (run / "steps").mkdir(parents=True)
    cp.save(model, run / "steps" / STEP)
    record = {
        "schema": 1,
        "name": "small",
        "recipe": {"name": "small", "seed": 13, "model": "org/base", "task": options, "steps": [], "export": []},
        "steps": [{"name": "fine_tune", "method": "fine_tune", "arguments": {"epochs": 1}, "parameters": 10}],
        "subjects": [{"name": "fine_tune", "kind": "torch", "target": "torch", "path": f"steps/{STEP}", "metrics": {}}],
        "gates": [],
        "data": {"fingerprint": task.fingerprint, **task.describe()},
    }
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    write_mark(run, "run", wrote={})
    return run
