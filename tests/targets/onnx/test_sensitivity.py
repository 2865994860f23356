"""The Linears that bear eight bits worst are kept in float, as few of them as the limit allows."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.errors import CompressError, InputError
from compress.models.quantizers import quantized_linears, set_qmax
from compress.targets.onnx.sensitivity import keep_in_float
from tests.targets.quantized import answers_with, float_answers, labelled_by, quantized_bert, wide_bert
from tests.tiny_models import differences, state_of

BROKEN = "bert.encoder.layer.0.intermediate.dense"
WORSE = "bert.encoder.layer.1.output.dense"


def told_in(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "sensitivity.json").read_text())
    return report


def in_float(model: Any) -> list[str]:
    return [name for name, linear in quantized_linears(model).items() if not linear.on]


@pytest.fixture
def task() -> Any:
    """The wide model in float is right about every sentence."""
    return labelled_by(wide_bert())


def right(model: Any, task: Any) -> float:
    """The fraction of selection sentences that a model is right about, one at a time."""
    with torch.no_grad():
        labels = [model(**model.tokenizer(text, return_tensors="pt")).logits.argmax().item() for text in task.selection.texts]
    return float((np.array(labels) == task.selection.labels).mean())


def test_the_linear_with_a_broken_range_is_the_one_kept_in_float(task: Any, tmp_path: Path) -> None:
    """Sound ranges lose less than the limit, the broken one more."""
    limit = 0.1
    assert 1 - right(quantized_bert(task), task) <= limit
    model = quantized_bert(task, broken=(BROKEN,))
    assert 1 - right(model, task) > limit
    student = keep_in_float(model, task, limit, tmp_path)
    assert in_float(student) == [BROKEN]
    report = told_in(tmp_path)
    assert report["max_drop"] == limit
    assert report["drop"] == pytest.approx(1 - right(student, task))
    assert report["ranking"][0]["name"] == BROKEN
    assert [row["name"] for row in report["ranking"] if row["float"]] == [BROKEN]
    assert {row["name"] for row in report["ranking"]} == set(quantized_linears(model))


def test_the_ranking_is_by_the_error_of_the_logits_with_one_linear_alone_in_whole_numbers(task: Any, tmp_path: Path) -> None:
    model = quantized_bert(task, broken=(BROKEN,))
    keep_in_float(model, task, 1.0, tmp_path)
    texts = task.calibration.texts
    plain = float_answers(model, texts)
    size = np.sqrt(np.mean((plain - plain.mean(axis=1, keepdims=True)) ** 2))
    ranking = told_in(tmp_path)["ranking"]
    errors = [row["error"] for row in ranking]
    assert errors == sorted(errors, reverse=True)
    for row in (*ranking[:3], ranking[-1]):
        expected = np.sqrt(np.mean((answers_with(model, row["name"], texts) - plain) ** 2)) / size
        assert row["error"] == pytest.approx(expected, rel=0.02, abs=1e-5)


def test_two_broken_linears_are_kept_from_the_worst_down(task: Any, tmp_path: Path) -> None:
    model = quantized_bert(task, broken=(BROKEN, WORSE))
    student = keep_in_float(model, task, 0.1, tmp_path)
    assert set(in_float(student)) == {BROKEN, WORSE}
    assert [row["float"] for row in told_in(tmp_path)["ranking"]] == [True] * 2 + [False] * 11


def test_a_limit_that_is_met_keeps_nothing_in_float(task: Any, tmp_path: Path) -> None:
    model = quantized_bert(task, broken=(BROKEN,))
    drop = 1 - right(model, task)
    assert in_float(keep_in_float(model, task, drop, tmp_path)) == []  # at the limit
    assert told_in(tmp_path)["drop"] == pytest.approx(drop)
    assert in_float(keep_in_float(model, task, drop - 1 / 64, tmp_path)) == [BROKEN]  # one sentence more than that


def test_the_model_that_comes_in_stays_as_it_is(task: Any, tmp_path: Path) -> None:
    model = quantized_bert(task, broken=(BROKEN,))
    before = state_of(model)
    keep_in_float(model, task, 0.1, tmp_path)
    assert in_float(model) == []
    assert not differences(state_of(model), before)


def test_a_loss_that_comes_from_the_embeddings_cannot_be_mended(task: Any, tmp_path: Path) -> None:
    model = quantized_bert(task)
    set_qmax(model, weights=127, tables=1)  # rows of -1, 0 and 1
    with pytest.raises(CompressError, match=r"max_drop is 0, but with every Linear in float the loss .* from the embeddings"):
        keep_in_float(model, task, 0.0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_ranking_is_logged_with_what_stays_float(task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "compress"):
        keep_in_float(quantized_bert(task, broken=(BROKEN,)), task, 0.1, tmp_path)
    lines = [message for message in caplog.messages if ". bert." in message]
    assert len(lines) == 13
    assert lines[0].startswith(f" 1. {BROKEN}: error ")
    assert [line.endswith("stays float") for line in lines] == [True] + [False] * 12


def test_the_evaluation_part_never_judges(task: Any, tmp_path: Path) -> None:
    object.__setattr__(task, "selection", task.evaluation)
    with pytest.raises(InputError, match="selection"):
        keep_in_float(quantized_bert(task), task, 0.1, tmp_path)
    assert not list(tmp_path.iterdir())
