"""A shipped folder is opened by its own files and names alone, and must score what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.errors import CompressError
from compress.measure.read_back import check_read_back, names_told
from compress.measure.subjects import subject_of
from tests.measure.conftest import SENTENCES

TRUTH = ["good", "bad"] * 4


def named(folder: Path, **names: str) -> Path:
    """The same folder, whose config.json names its outputs so."""
    path = folder / "config.json"
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    told |= {"id2label": {name.removeprefix("n"): label for name, label in names.items()}}
    path.write_text(json.dumps(told), encoding="utf-8")
    return folder


def test_answers_are_called_what_the_folder_itself_calls_them(onnx_folder: Callable[..., Path]) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), n0="bad", n1="good"))
    told = names_told(subject, ["a good film", "bad", "the very good plot"], None, 16)
    assert told == ["good", "bad", "good"]


def test_a_folder_that_scores_what_was_measured_passes(onnx_folder: Callable[..., Path]) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), n0="bad", n1="good"))
    told = names_told(subject, SENTENCES, None, 16)
    right = sum(one == name for one, name in zip(told, TRUTH, strict=True)) / len(TRUTH)
    assert check_read_back(subject, right, texts=SENTENCES, pairs=None, names=TRUTH, max_length=16) == {
        "accuracy": right,
        "examples": 8,
    }


@pytest.mark.parametrize("names", [{"n0": "good", "n1": "bad"}, {"n0": "ham", "n1": "spam"}])
def test_a_folder_whose_names_are_others_is_refused(onnx_folder: Callable[..., Path], names: dict[str, str]) -> None:
    subject = subject_of(named(onnx_folder(tokenizer=True), **names))
    with pytest.raises(CompressError, match=r"right on \d+\.\d% of 8 examples, but 100\.0% was measured"):
        check_read_back(subject, 1.0, texts=SENTENCES, pairs=None, names=TRUTH, max_length=16)
