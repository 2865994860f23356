"""Texts without labels, which a student learns its teacher's answers to in the place of the task's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compress.dependencies import InputFile
from compress.errors import InputError
from compress.tasks.unlabelled import read_unlabelled
from compress.training.objective_fit import reads_labels
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TextFile = Annotated[InputFile | None, Field(description="texts without labels to learn from instead of the task's")]


def with_texts_of(
    method: str, text: str, task: Task, objectives: Mapping[str, float], run: StepContext, *, written: bool = False
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

    Raises:
        InputError: An objective reads labels, or the task's answers are texts that nobody wrote.
    """
    labelled = reads_labels(objectives)
    if labelled and not written and not task.rules.head.of_pieces:
        what = "" if labelled[0] == "labels" else ", which reads labels"
        raise InputError(f"{method}.objectives names {labelled[0]!r}{what}, but {method}.text has none; remove one of them.")
    if task.rules.head.writes and not written:
        raise InputError(f"{method}.text has no texts to write; let the teacher write them with targets: teacher.")
    if run.is_rehearsal:
        return replace(task, train=task.rules.without_labels(task.train.take(1)))
    texts = read_unlabelled(text, apart_from=task.apart(), joined=task.joined).split
    return replace(task, train=task.rules.without_labels(texts))
