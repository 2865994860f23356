"""Let easy texts leave a model at a lower layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, Unpack

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.exits import Measure, all_exits, confidence, exit_layers, exits_of, set_exits
from compress.models.head import SEQUENCE, SINGLE_LABEL
from compress.models.heads import logits_of
from compress.models.layout import encoder_layers
from compress.models.surgery import copy_of
from compress.objectives.labels import labels
from compress.objectives.logit_mse import logit_mse
from compress.objectives.logits import logits
from compress.objectives.outputs import Batch, Outputs
from compress.tasks.labelled import Task
from compress.tasks.text_classification import likeliest
from compress.training.batches import sorted_batches
from compress.training.compatibility import labels_aligned, shortened
from compress.training.leaving import Rows, cheapest_thresholds
from compress.training.loop import train as trained
from compress.training.predict import BATCH_SIZE, on_device
from compress.training.settings import Epochs, LearningRate, MaxLength, StepKnobs, settings_of
from compress.training.step_context import StepContext
from compress.training.teaching import Distillation, Temperature, Weight, answers_of, check_room
from compress.training.training_loss import Term, TrainingLoss
from compress.training.ways import Way

logger = logging.getLogger(__name__)

Teaching = Literal["logits", "logit_mse", "labels"]
OBJECTIVES: dict[Teaching, float] = {"logits": 1.0, "labels": 1.0}


@within_range
@labels_aligned()
def early_exit(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel | None = None,
    task: Task,
    layers: Annotated[
        Literal["all"] | list[Annotated[int, Field(ge=0)]],
        Field(min_length=1, description="behind which a text may leave, from 0, the lowest; all but the last"),
    ] = "all",
    train: Annotated[
        Literal["joint", "alternating", "heads"],
        Field(description="what learns: all with the exits, in each step or in every other one; or the exits alone"),
    ] = "joint",
    objectives: Annotated[
        dict[Teaching, Weight] | None,
        Field(min_length=1, description="objective -> weight in an exit's sum; null: logits and labels alike"),
    ] = None,
    temperature: Temperature = 2.0,
    measure: Annotated[Measure, Field(description="what of an exit's answer tells how sure it is")] = "probability",
    max_drop: Annotated[
        float, Field(ge=0, le=1, description="fraction of the selection part by which fewer texts may be right")
    ] = 0.005,
    max_length: MaxLength = None,
    epochs: Epochs = 3,
    learning_rate: LearningRate = 1e-4,
    run: StepContext | None = None,
    **knobs: Unpack[StepKnobs],
) -> PreTrainedModel:
    """Put heads behind lower layers, so that a text leaves at the first one that is sure, and the layers above need not run.

    The exits learn from the labels and from what the last layer answers, and the thresholds are those at which the fewest
    layers run on the selection part while no more than `max_drop` of its answers are lost. The model, and the file that is
    exported, then answer as the exit does at which a text leaves. It comes behind the steps that train or prune.

    Source: Xin et al. 2021, BERxiT, EACL 2021, sections 3.1 (joint, alternating) and 3.2; Xin et al. 2020, DeeBERT, arXiv
    2004.12993, section 3.2 (heads); Liu et al. 2020, FastBERT, arXiv 2004.02178, equation 7 (exits learn from the last layer).
    Differs: joint losses are weighted by depth (Kaya et al. 2019, arXiv 1810.07052; Zhou et al. 2020, PABEE, arXiv 2006.04152,
    equation 6). Each exit has a threshold of its own. The last epoch is kept.

    Args:
        model: A trained classifier that tells one label for a text; stays as it is.
        teacher: Answers in the place of the last layer, whose own answers then learn from it, too; it has the same labels.
        task: Learned from; the evaluation split is not touched.
        layers: Behind which exits stand; the lowest save most. What is not worth its place gets a threshold that lets none
            leave.
        train: "joint" lets the model learn with its exits; "alternating" lets every other step be the last layer's alone,
            which costs it less (BERxiT); "heads" lets the model stay as it is, so that an epoch takes seconds, and lower
            layers, which have never learned to answer, do so less well.
        objectives: What an exit learns: "logits" or "logit_mse" from the teacher, else from the last layer, and "labels".
        temperature: T of logits.
        measure: "probability" of the likeliest label, or 1 less the normalized "entropy"; of two labels both order texts
            alike.
        max_drop: Higher lets more texts leave early. It is held on the selection part; on others it is met on average.
        max_length: Tokens of each text to read while it learns.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW; 1e-3 suits train: heads.
        run: Its `facts` are filled in: `exits`, the layers, thresholds, and what becomes of the selection part.
        **knobs: How to train; see `StepKnobs`.

    Returns:
        The copy with exits.

    Raises:
        InputError: The model has no such layers or has exits already, the task is of another kind, or its selection part is
            empty.
        NoEffect: No text of the selection part may leave before the last layer.

    See also:
        `drop_layers` and `distill`, which make the model that all texts go through smaller; this comes behind them.
    """
    settings = settings_of(epochs, learning_rate, **knobs)
    run = run or StepContext()
    if (task.rules.head.architecture, task.rules.head.problem_type) != (SEQUENCE, SINGLE_LABEL):
        raise InputError(f"early_exit needs one label for each text, but {task.kind} has other answers; remove the step.")
    task = shortened("early_exit", task, max_length, model)
    numbers = exit_layers(model, layers)
    student = copy_of(model)
    set_exits(student, numbers, measure, seed=run.seed)
    goal = _goal(objectives or OBJECTIVES, temperature, numbers, student, teacher, task, run)
    way = Way(() if train == "heads" else None, exits=True)
    before = partial(_let_answer, alternating=train == "alternating")
    student = trained(student, task=task, settings=settings, goal=goal, run=run, before_step=before, way=way)
    exits = exits_of(student)
    assert exits is not None
    exits.stacked = False
    if not run.is_rehearsal:
        _choose_thresholds(student, task, max_drop, run)
    return student


def _goal(
    objectives: Mapping[Teaching, float],
    temperature: float,
    numbers: list[int],
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    task: Task,
    run: StepContext,
) -> TrainingLoss:
    """What the loop makes small, once the teacher has answered."""
    how, depth = Distillation(temperature=temperature), len(encoder_layers(student))
    answers = None
    if teacher is not None and run.is_rehearsal:
        check_room(teacher, set(), how, task, run)
    elif teacher is not None:
        answers = answers_of(teacher, set(), how, task, run)
    term = partial(
        exit_loss,
        objectives=tuple(objectives.items()),
        temperature=temperature,
        depths=(*(number + 1 for number in numbers), depth),
    )
    return TrainingLoss({"exits": (1.0, term)}, teacher=answers, teaches_logits=False)


def exit_loss(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    objectives: tuple[tuple[Teaching, float], ...],
    temperature: float,
    depths: tuple[int, ...],
) -> torch.Tensor:
    """The mean of all exits' losses, weighted by their depths; in a step that is the last layer's alone, its own.

    Args:
        student: Its logits are those of all exits, (batch, exits + 1, labels), or the last layer's, (batch, labels).
        teacher: Answers in the place of the last layer, where it is there.
        batch: Has the labels.
        objectives: Of an exit, with their weights.
        temperature: Of logits.
        depths: How many layers stand below each exit, the last layer's last.
    """
    known: dict[Teaching, Term] = {
        "logits": partial(logits, temperature=temperature),
        "logit_mse": logit_mse,
        "labels": labels,
    }
    every = student.logits.unbind(1) if student.logits.ndim == 3 else (student.logits,)
    last = Outputs(every[-1].detach())
    losses = []
    for answers in every:
        has_teacher = teacher is not None or answers is not every[-1]
        terms = objectives if has_teacher else (("labels", 1.0),)
        own = Outputs(answers)
        losses.append(torch.stack([weight * known[name](own, teacher or last, batch) for name, weight in terms]).sum())
    weights = torch.tensor(depths[-len(losses) :], dtype=torch.float32, device=losses[0].device)
    return (torch.stack(losses) * weights).sum() / weights.sum()


def _let_answer(student: PreTrainedModel, step: int, total: int, *, alternating: bool) -> None:
    """Let all exits answer, but in every other step, from the first, the last layer alone."""
    exits = exits_of(student)
    assert exits is not None
    exits.stacked = not alternating or step % 2 == 1


def _choose_thresholds(student: PreTrainedModel, task: Task, max_drop: float, run: StepContext) -> None:
    """Give the exits the thresholds that are cheapest on the selection part, and tell what they do there."""
    exits, depth = exits_of(student), len(encoder_layers(student))
    assert exits is not None
    encoded = task.read_by(student).encode(task.selection.require("selection"), student.tokenizer)
    answers = np.zeros((len(exits.layers) + 1, len(encoded), student.config.num_labels), dtype=np.float32)
    with torch.inference_mode(), all_exits(student):
        batches = sorted_batches(encoded.lengths, BATCH_SIZE)
        for done, indices in enumerate(batches, 1):
            answers[:, indices] = logits_of(student(**on_device(encoded.batch(indices), "cpu"))).transpose(0, 1).numpy()
            run.progress("choose thresholds", done, len(batches))
    rows = Rows(
        confidence(torch.from_numpy(answers[:-1]), exits.measure).numpy(),
        answers.argmax(axis=-1) == likeliest(encoded.labels),
        np.array([*(number + 1 for number in exits.layers), depth]),
    )
    thresholds = cheapest_thresholds(rows, max_drop)
    exits.thresholds = thresholds.tolist()
    work = rows.work(thresholds) / len(encoded)
    if work == depth and not run.tiny:
        raise NoEffect(
            f"early_exit: with a max_drop of {max_drop:g} no text of the selection part may leave before the last layer; "
            "allow more, let the exits learn longer, or remove the step."
        )
    shares = np.bincount(rows.leaving(thresholds), minlength=len(exits.layers) + 1) / len(encoded)
    run.facts["exits"] = {
        "layers": list(exits.layers),
        "measure": exits.measure,
        "thresholds": exits.thresholds,
        "shares": [round(float(share), 6) for share in shares],
        "expected_layers": round(work, 4),
        "accuracy": rows.correct(thresholds) / len(encoded),
        "accuracies": [round(float(right), 6) for right in rows.right.mean(axis=1)],
    }
    logger.info(
        "early_exit: %.2f of %d layers run for a text of the selection part; %s leave behind layers %s, the rest at the end",
        work,
        depth,
        ", ".join(f"{share:.1%}" for share in shares[:-1]),
        ", ".join(map(str, exits.layers)),
    )
