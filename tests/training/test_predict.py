"""Answers stand in the examples' order and are those of the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.tasks.labelled import Task
from compress.training.predict import predict
from tests.tiny_models import toy_task


def one_by_one(model: PreTrainedModel, task: Task) -> np.ndarray:
    """The plain model's answers to each sentence alone."""
    with torch.no_grad():
        rows = [model(**model.tokenizer(text, return_tensors="pt")).logits for text in task.evaluation.texts]
    return torch.cat(rows).numpy()


def test_answers_are_those_of_each_sentence_alone(model: PreTrainedModel) -> None:
    task = toy_task(others=70)  # more than a batch
    logits = predict(model, task.encode(task.evaluation, model.tokenizer))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, one_by_one(model, task), rtol=1e-4, atol=1e-5)


def test_bfloat16_answers_are_close_and_float32(model: PreTrainedModel, toy: Task) -> None:
    logits = predict(model, toy.encode(toy.evaluation, model.tokenizer), bf16=True)
    expected = one_by_one(model, toy)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=0.1)
    assert np.abs(logits - expected).max() > 1e-5


def test_shares_of_several_processes_add_up_to_the_whole(model: PreTrainedModel) -> None:
    task = toy_task(others=140)  # three batches
    encoded = task.encode(task.evaluation, model.tokenizer)
    parts = [predict(model, encoded, share=(rank, 2)) for rank in range(2)]
    answered = [np.abs(part).sum(1) > 0 for part in parts]
    assert [int(rows.sum()) for rows in answered] == [64 + 12, 64]
    assert not (answered[0] & answered[1]).any()
    np.testing.assert_array_equal(parts[0] + parts[1], predict(model, encoded))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_s_mode_is_left_as_it_was_and_dropout_is_off(model: PreTrainedModel, toy: Task, training: bool) -> None:
    model.train(training)
    encoded = toy.encode(toy.evaluation, model.tokenizer)
    np.testing.assert_array_equal(predict(model, encoded), predict(model, encoded))
    assert model.training is training


def test_progress_is_told_after_each_batch(model: PreTrainedModel) -> None:
    calls: list[tuple[str, int, int]] = []
    task = toy_task(others=70)
    predict(
        model,
        task.encode(task.evaluation, model.tokenizer),
        what="select",
        progress=lambda what, done, total, **facts: calls.append((what, done, total)),
    )
    assert calls == [("select", 1, 2), ("select", 2, 2)]
