"""Train a student to answer as its teacher does."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, raise_together
from compress.objectives import OBJECTIVES
from compress.tasks.text_classification import Task
from compress.train.device import has_fast_bf16, pick_device
from compress.train.loop import Goal, train
from compress.train.predict import predict
from compress.train.run import Run
from compress.train.settings import (
    Accumulate,
    Average,
    BatchSize,
    ClipNorm,
    Epochs,
    LearningRate,
    Patience,
    Schedule,
    Settings,
    Warmup,
    WeightDecay,
)

Weight = Annotated[float, Field(gt=0)]


@within_range
def distill(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel,
    task: Task,
    objectives: Annotated[dict[str, Weight], Field(min_length=1, description="objective -> weight in the sum")],
    temperature: Annotated[float, Field(gt=0, le=100, description="softens both answers in the logits objective")] = 2.0,
    epochs: Epochs = 3,
    learning_rate: LearningRate = 2e-4,
    batch_size: BatchSize = 64,
    accumulate: Accumulate = 1,
    schedule: Schedule = "linear",
    warmup: Warmup = 0.1,
    weight_decay: WeightDecay = 0.01,
    clip_norm: ClipNorm = 1.0,
    average: Average = 0.0,
    patience: Patience = None,
    run: Run | None = None,
) -> PreTrainedModel:
    """Train a copy of the student on a weighted sum of objectives that look at the teacher.

    Source: Hinton et al. 2015, arXiv 1503.02531; for BERT, Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 3.
    Differs: the teacher's logits are computed once, without dropout, and used in every epoch.

    Args:
        model: The student; stays as it is.
        teacher: Has the same labels and the same tokenizer.
        task: Learned from; the evaluation split is not touched.
        objectives: Objective -> weight; see `bert-compress list`.
        temperature: T of the logits objective.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        batch_size: Examples per forward pass.
        accumulate: Batches per optimizer step.
        schedule: How the rate falls after warm-up.
        warmup: Fraction of the steps in which the rate rises.
        weight_decay: Decoupled decay of all weights but biases and LayerNorm.
        clip_norm: Largest gradient norm.
        average: Last fraction of the steps whose weights are averaged into the result.
        patience: Epochs without a better selection metric before stopping.
        run: Seed, device, checkpoints and progress.

    Returns:
        The trained copy.

    Raises:
        InputError: An objective is unknown, or student and teacher do not fit together.
        CompressError: The loss is not finite.
    """
    run = run or Run()
    terms, needs = _terms(objectives, {"temperature": temperature})
    _check_fit(model, teacher)
    settings = Settings(
        epochs, learning_rate, batch_size, accumulate, schedule, warmup, weight_decay, clip_norm, average, patience
    )
    if "hidden" in needs:
        goal = Goal(terms, needs_hidden=True, teacher=teacher)
    elif "teacher" in needs:
        goal = Goal(terms, teacher_logits=_teacher_logits(teacher, task, run))
    else:
        goal = Goal(terms)
    return train(model, task=task, settings=settings, goal=goal, run=run)


def _terms(objectives: Mapping[str, float], options: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    unknown = [name for name in objectives if name not in OBJECTIVES]
    raise_together(
        [f"distill.objectives names {name!r}; allowed: {', '.join(OBJECTIVES)}." for name in unknown]
        + [f"distill.objectives.{name} is {weight}; it must be above 0." for name, weight in objectives.items() if weight <= 0]
        + ([] if objectives else [f"distill.objectives is empty; name at least one of {', '.join(OBJECTIVES)}."])
    )
    terms, needs = {}, set()
    for name, weight in objectives.items():
        module = importlib.import_module(OBJECTIVES[name])
        function = getattr(module, name)
        known = {key: value for key, value in options.items() if key in inspect.signature(function).parameters}
        terms[name] = (float(weight), partial(function, **known))
        needs |= module.NEEDS
    return terms, needs


def _check_fit(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    names = [list(model.config.id2label.values()) for model in (student, teacher)]
    if names[0] != names[1]:
        raise InputError(f"the student's labels are {names[0]}, the teacher's {names[1]}; they must be the same, in order.")
    vocabularies = [model.tokenizer.get_vocab() for model in (student, teacher)]
    if vocabularies[0] != vocabularies[1]:
        raise InputError("student and teacher have different vocabularies; use a student with the teacher's tokenizer.")


def _teacher_logits(teacher: PreTrainedModel, task: Task, run: Run) -> Any:
    device = pick_device(run.device)
    encoded = task.encode(task.train.require("train"), teacher.tokenizer)
    teacher.to(device)
    try:
        return predict(teacher, encoded, device, bf16=has_fast_bf16(device), progress=run.progress, what="teacher")
    finally:
        teacher.cpu()
