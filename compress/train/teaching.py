"""From a recipe's objectives to what the loop makes small: terms with weights, and the teacher's answers that they need."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from transformers import PreTrainedModel

from compress.errors import InputError, raise_together
from compress.objectives import OBJECTIVES
from compress.train.device import has_fast_bf16, pick_device
from compress.train.loop import Goal
from compress.train.predict import predict
from compress.train.run import Run

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task

Weight = Annotated[float, Field(gt=0)]
Temperature = Annotated[float, Field(gt=0, le=100, description="softens both answers in the logits objective")]


def goal_of(
    method: str,
    objectives: Mapping[str, float],
    options: Mapping[str, Any],
    *,
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    task: Task,
    run: Run,
) -> Goal:
    """What a weighted sum of objectives asks of the loop.

    The teacher's logits are computed once for the training part; only where its hidden states are needed does it answer in
    every step.

    Args:
        method: Its name, for messages.
        objectives: Objective -> weight.
        options: For the objectives that take them (temperature).
        student: Learns.
        teacher: Answers; None where no objective looks at it.
        task: Its training part is answered.
        run: Device and progress.

    Raises:
        InputError: An objective is unknown or needs a teacher that is not given, or student and teacher do not fit together.
    """
    terms, needs = _terms(method, objectives, options)
    if teacher is None:
        looking = [name for name in objectives if importlib.import_module(OBJECTIVES[name]).NEEDS]
        if looking:
            raise InputError(
                f"{method}.objectives names {looking[0]!r}, which looks at a teacher; give teacher, or use labels."
            )
        return Goal(terms)
    _check_fit(student, teacher, by_token=bool(needs - {"teacher"}))
    if "hidden" in needs:
        return Goal(terms, needs_hidden=True, teacher=teacher)
    return Goal(terms, teacher_logits=_teacher_logits(teacher, task, run) if "teacher" in needs else None)


def _terms(method: str, objectives: Mapping[str, float], options: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    unknown = [name for name in objectives if name not in OBJECTIVES]
    raise_together(
        [f"{method}.objectives names {name!r}; allowed: {', '.join(OBJECTIVES)}." for name in unknown]
        + [f"{method}.objectives.{name} is {value}; it must be above 0." for name, value in objectives.items() if value <= 0]
        + ([] if objectives else [f"{method}.objectives is empty; name at least one of {', '.join(OBJECTIVES)}."])
    )
    terms, needs = {}, set()
    for name, weight in objectives.items():
        module = importlib.import_module(OBJECTIVES[name])
        function = getattr(module, name)
        known = {key: value for key, value in options.items() if key in inspect.signature(function).parameters}
        terms[name] = (float(weight), partial(function, **known))
        needs |= module.NEEDS
    return terms, needs


def _check_fit(student: PreTrainedModel, teacher: PreTrainedModel, *, by_token: bool) -> None:
    """Refuse a teacher of other labels, or, where more than logits is matched, of other pieces."""
    names = [list(model.config.id2label.values()) for model in (student, teacher)]
    if names[0] != names[1]:
        raise InputError(f"the student's labels are {names[0]}, the teacher's {names[1]}; they must be the same, in order.")
    vocabularies = [model.tokenizer.get_vocab() for model in (student, teacher)]
    if by_token and vocabularies[0] != vocabularies[1]:
        raise InputError(
            "student and teacher have different vocabularies, so that only logits can be matched; use a student with the "
            "teacher's tokenizer, or the objective logits alone."
        )


def _teacher_logits(teacher: PreTrainedModel, task: Task, run: Run) -> np.ndarray:
    device = pick_device(run.device)
    encoded = task.encode(task.train.require("train"), teacher.tokenizer)
    teacher.to(device)
    try:
        return predict(teacher, encoded, device, bf16=has_fast_bf16(device), progress=run.progress, what="teacher")
    finally:
        teacher.cpu()
