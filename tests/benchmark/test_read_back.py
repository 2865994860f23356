"""A shipped folder is opened by its own files and names alone, and must score what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.benchmark.read_back import answers_told, check_read_back
from compress.benchmark.subjects import subject_of
from compress.errors import CompressError
from compress.tasks.labelled import Task

LABELS = ("bad", "good")
TRUTH = ["good", "bad"] * 4


def named(folder: Path, **names: str) -> Path:
    """The same folder, whose config.json names its outputs so."""
    path = folder / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config |= {"id2label": {name.removeprefix("n"): label for name, label in names.items()}}
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_answers_are_called_what_the_folder_itself_calls_them(
    onnx_folder: Callable[..., Path], make_task: Callable[..., Task]
) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), n0="bad", n1="good"))
    answers, targets = answers_told(subject, make_task(), 16)
    assert [LABELS[answer] for answer in answers.argmax(axis=1)] == [
        "good",
        "bad",
        "good",
        "bad",
        "good",
        "bad",
        "good",
        "bad",
    ]
    assert [LABELS[target] for target in targets] == TRUTH
    turned, _ = answers_told(subject_of(named(subject.path, n0="good", n1="bad")), make_task(), 16)
    assert (turned == answers[:, ::-1]).all()


def test_a_folder_that_scores_what_was_measured_passes(
    onnx_folder: Callable[..., Path], make_task: Callable[..., Task]
) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), n0="bad", n1="good"))
    scores = check_read_back(subject, make_task(), {"accuracy": 1.0}, 16)
    assert scores == {"accuracy": 1.0, "examples": 8}


@pytest.mark.parametrize("names", [{"n0": "good", "n1": "bad"}, {"n0": "ham", "n1": "spam"}])
def test_a_folder_whose_names_are_others_is_refused(
    onnx_folder: Callable[..., Path], make_task: Callable[..., Task], names: dict[str, str]
) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), **names))
    with pytest.raises(CompressError, match=r"accuracy is \d+\.\d % on 8 examples, but 100\.0 % was measured"):
        check_read_back(subject, make_task(), {"accuracy": 1.0}, 16)
