"""Whether a model and a task belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.bert.sharing import why_not_cut
from compress.errors import InputError

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task


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


def check_fit(model: PreTrainedModel, task: Task) -> None:
    """Refuse a task whose labels the model does not have, or which has nothing to learn from.

    Raises:
        InputError: They do not fit, or a part is empty.
    """
    if model.config.num_labels != len(task.labels):
        raise InputError(
            f"the model has {model.config.num_labels} labels, but the task has {len(task.labels)} "
            f"({', '.join(task.labels)}); load the model with labels=task.labels."
        )
    for split in (task.train, task.selection):
        if not len(split):
            raise InputError(f"the task's {split.role} part is empty; give data to train on.")


def shortened(method: str, task: Task, max_length: int | None, model: PreTrainedModel) -> Task:
    """The task as a step reads it that may be told to read less of each text.

    Raises:
        InputError: It is told to read more than the model does.
    """
    most = model.config.max_position_embeddings
    if max_length is not None and min(max_length, task.max_length) > most:
        raise InputError(
            f"{method}.max_length is {max_length}, but the model reads {most} tokens at most; use up to {most}, or let "
            "swap_attention come first."
        )
    return task.up_to(max_length or task.max_length).read_by(model)
