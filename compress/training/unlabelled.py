"""Texts without labels, which a student learns its teacher's answers to in the place of the task's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from compress.dependencies import InputFile
from compress.errors import InputError
from compress.tasks.split import Split
from compress.tasks.unlabelled import NO_LABEL, read_unlabelled
from compress.training.objective_fit import reads_labels
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task
    from compress.training.near_texts import NearTask

TextFile = Annotated[InputFile | None, Field(description="texts without labels to learn from instead of the task's")]


def with_texts_of(
    method: str,
    text: str,
    task: Task,
    objectives: Mapping[str, float],
    run: StepContext,
    *,
    written: bool = False,
    beside: bool = False,
    chosen_by: NearTask | None = None,
) -> Task:
    """The same task, whose training part are the texts of a file, without labels.

    Args:
        method: Who asks.
        text: A file of plain text (a text per line), or a table. The task's own texts to select and to measure on are left
            out, and texts that are kin of them.
        task: Its training part is replaced.
        objectives: None may look at labels.
        run: A rehearsal does not read the file, since it may be large: the step itself does.
        written: Whether the teacher writes what the data does not say.
        beside: Keep the task's own training texts too, without their labels.
        chosen_by: Takes the texts that are near to the task's; None takes all.

    Raises:
        InputError: An objective reads labels, the task's answers are texts that nobody wrote, or the texts are of another
            shape than those that they are to stand beside.
    """
    labelled = reads_labels(objectives)
    if labelled and not written and not task.rules.head.of_pieces:
        what = "" if labelled[0] == "labels" else ", which reads labels"
        raise InputError(f"{method}.objectives names {labelled[0]!r}{what}, but {method}.text has none; remove one of them.")
    if task.rules.head.writes and not written:
        raise InputError(f"{method}.text has no texts to write; let the teacher write them with targets: teacher.")
    if beside and (task.train.words is not None or task.train.passages is not None):
        raise InputError(
            f"{method}.beside puts texts beside the task's, whose rows are more than texts in {task.kind}; leave it out."
        )
    if chosen_by is not None:
        chosen_by.check(method, task)
    if run.is_rehearsal:
        return replace(task, train=task.rules.without_labels(task.train.take(1)))
    texts = read_unlabelled(text, apart_from=task.apart(), joined=task.joined).split
    if chosen_by is not None:
        texts = chosen_by.chosen(method, texts, task, run)
    if beside:
        texts = _joined(method, task.train, texts)
    return replace(task, train=task.rules.without_labels(texts))


def _joined(method: str, own: Split, more: Split) -> Split:
    """The task's texts and, behind them, those of a file that it does not hold, all of them without labels."""
    if (own.pairs is None) != (more.pairs is None):
        ours, theirs = ("pairs" if split.pairs else "single texts" for split in (own, more))
        raise InputError(f"{method}.beside puts {theirs} of {method}.text beside {ours} of the task; give {ours}.")
    rows = zip(own.texts + more.texts, (own.pairs or own.texts) + (more.pairs or more.texts), strict=True)
    texts, pairs = zip(*dict.fromkeys(rows), strict=True)
    return Split("train", texts, None if own.pairs is None else pairs, np.full(len(texts), NO_LABEL))
