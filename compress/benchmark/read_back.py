"""Open a shipped folder as a stranger would: by its own files and names alone, without the task that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.accuracy import predict, settled_for
from compress.benchmark.runners import open_runner
from compress.benchmark.subjects import CONFIG, Subject, read_json
from compress.errors import CompressError
from compress.log import libraries_silenced
from compress.measures import lost
from compress.record import score

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

ROUNDING = 0.001  # of the examples, whose two best answers may be as good as equal


def answers_told(subject: Subject, task: Task, max_length: int) -> tuple[np.ndarray, Any]:
    """What a folder says of the evaluation part, by its own tokenizer and the names of its own config.json.

    Args:
        subject: A folder with a file or a torch model.
        task: Gives the texts; of its labels only the names count.
        max_length: Tokens of an example that are read.

    Returns:
        Answers, a column for each of the task's labels (of what is written the ids), and the targets. A label that the folder
        does not name is never answered.
    """
    is_by_name = task.rules.head.is_named and not task.rules.head.writes
    names = _names_as_transformers_reads_them(subject) if is_by_name else {}
    with open_runner(subject) as runner:
        encoded = task.rules.encode(task.evaluation.require("evaluation"), runner.tokenizer, max_length)
        answers = predict(runner, encoded)
        if names:
            never = np.full((len(answers), 1), answers.min() - 1, dtype=answers.dtype)
            columns = {name: answers[:, index : index + 1] for index, name in names.items() if index < answers.shape[1]}
            answers = np.concatenate([columns.get(label, never) for label in task.labels], axis=1)
        chosen = settled_for(runner, subject, task.up_to(max_length))
        return task.rules.settled(answers, chosen, encoded.labels), encoded.labels


def _names_as_transformers_reads_them(subject: Subject) -> dict[int, str]:
    from transformers import AutoConfig

    from compress.models.families import WITHOUT_ENCODER

    values = read_json(subject.path / CONFIG)
    if values.get("model_type") in WITHOUT_ENCODER:  # whose classes transformers does not have
        return {int(index): name for index, name in values["id2label"].items()}
    with libraries_silenced():
        names: dict[int, str] = AutoConfig.from_pretrained(subject.path, local_files_only=True).id2label
    return names


def check_read_back(subject: Subject, task: Task, metrics: Mapping[str, float], max_length: int) -> dict[str, Any]:
    """Check that a shipped folder scores by its own names what was measured of it.

    Args:
        subject: The folder.
        task: Its evaluation part is answered again.
        metrics: What was measured, the first of which is compared.
        max_length: Tokens of an example that are read.

    Returns:
        The metric and `examples`, for run.json.

    Raises:
        CompressError: It scores otherwise.
    """
    answers, targets = answers_told(subject, task, max_length)
    name, measured = next(iter(metrics.items()))
    count, value = len(task.evaluation), task.score(answers, targets)[name]
    if abs(lost(name, measured, value)) > max(1.0 / count, ROUNDING):
        raise CompressError(
            f"{subject.path}: read by its own config.json the folder's {name} is {score(name, value)} on {count} examples, "
            f"but {score(name, measured)} was measured; its names ({CONFIG}), tokenizer or file are not those that were "
            "measured. Nothing of it should be shipped: run again, with a new --out."
        )
    return {name: value, "examples": count}
