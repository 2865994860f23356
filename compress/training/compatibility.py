"""Whether a model and a task belong together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.knobs import signature_of
from compress.models.families import longest_text
from compress.models.traits import why_not_cut, why_too_late
from compress.tasks.masked_pieces import mask_of

if TYPE_CHECKING:
    from compress.tasks.labelled import Task


P = ParamSpec("P")
Method = Callable[P, PreTrainedModel]


def labels_aligned(*, trains: bool = False) -> Callable[[Method[P]], Method[P]]:
    """Let a method's model and teacher answer with the task's labels, in the task's order, before it begins.

    Args:
        trains: Whether the method teaches the head, so that it may have been one for other labels; `new_head` makes a new one.

    Raises (when called):
        InputError: The head of the model or of the teacher is for other labels than the task has.
    """

    def decorated(method: Method[P]) -> Method[P]:
        signature = signature_of(method)

        @functools.wraps(method)
        def with_aligned(*args: P.args, **kwargs: P.kwargs) -> PreTrainedModel:
            from compress.models.heads import aligned  # when it is called: what reads the signature alone needs no torch

            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            task, teacher = given.get("task"), given.get("teacher")
            if task is not None and teacher is not None:
                given["teacher"] = aligned(teacher, task.labels, task.rules.head, who="the teacher")
            if task is not None and not given.get("new_head"):
                given["model"] = aligned(given["model"], task.labels, task.rules.head, trains=trains)
            return method(*bound.args, **bound.kwargs)

        return with_aligned

    return decorated


def check_prunable(method: str, model: PreTrainedModel, task: Task) -> None:
    """Refuse a model whose weights cannot be cut any more, and what `check_fit` refuses.

    Raises:
        InputError: They cannot, or model and task do not fit, or a part is empty or not for training.
    """
    why = why_not_cut(model)
    if why:
        raise InputError(f"{method}: {why}")
    task.train.require("train")
    check_fit(model, task)


def check_fit(model: PreTrainedModel, task: Task, *, exits_learn: bool = False) -> None:
    """Refuse a task whose labels, or whose token that masks, the model does not have, or which has nothing to learn from; and,
    unless they learn, a model with exits, whose thresholds are of its weights as they are.

    Raises:
        InputError: They do not fit, or a part is empty.
    """
    if task.rules.head.is_named and model.config.num_labels != len(task.labels):
        raise InputError(
            f"the model has {model.config.num_labels} labels, but the task has {len(task.labels)} "
            f"({', '.join(task.labels)}); load the model with labels=task.labels."
        )
    why = None if exits_learn else why_too_late(model, "train it", "early_exit")
    if why:
        raise InputError(why)
    if task.rules.head.of_pieces:
        mask_of(model.tokenizer)
    for split in (task.train, task.selection):
        if not len(split):
            raise InputError(f"the task's {split.role} part is empty; give data to train on.")


def shortened(method: str, task: Task, max_length: int | None, model: PreTrainedModel) -> Task:
    """The task as a step reads it that may be told to read less of each text.

    Raises:
        InputError: It is told to read more than the model does.
    """
    most = longest_text(model.config)
    if max_length is not None and min(max_length, task.max_length) > most:
        raise InputError(
            f"{method}.max_length is {max_length}, but the model reads {most} tokens at most; use up to {most}, or let "
            "swap_attention come first."
        )
    return task.up_to(max_length or task.max_length).read_by(model)
