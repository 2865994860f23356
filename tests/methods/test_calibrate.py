"""Probabilities are what they say: the last Linear is divided by a temperature, and answers stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.build_student import build_student
from compress.methods.calibrate import calibrate
from compress.methods.fine_tune import fine_tune
from compress.methods.quantize_aware import quantize_aware
from compress.models.checkpoint import load, save
from compress.tasks.kind import load_kind
from compress.tasks.labelled import Task
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.tasks.kinds import ROWS
from tests.tiny_models import STRUCTURES, logits_of, tiny_bert, tiny_for, tiny_of, toy_task


def answered(model: PreTrainedModel, task: Task) -> tuple[np.ndarray, Any]:
    encoded = task.encode(task.selection, model.tokenizer)
    return predict(model, encoded), encoded.labels


@pytest.fixture(scope="module")
def noisy() -> Task:
    """A task of which every fifth label is another one, so that nobody can be sure."""
    task = toy_task(train=80, others=60)
    parts = {}
    for split in task.splits():
        labels = split.labels.copy()
        labels[::5] = 1 - labels[::5]
        parts[split.role] = replace(split, labels=labels)
    return replace(task, **parts)


@pytest.fixture(scope="module")
def sure(noisy: Task) -> PreTrainedModel:
    """A model that has learned the words, and is surer of itself than it should be."""
    options: dict[str, Any] = {"epochs": 8, "learning_rate": 1e-2, "batch_size": 16, "run": StepContext(device="cpu")}
    model = fine_tune(tiny_bert(initializer_range=0.05), task=toy_task(train=80), **options)
    with torch.no_grad():
        model.classifier.weight.mul_(3)
        model.classifier.bias.mul_(3)
    return model


def test_the_logits_are_divided_by_the_temperature_of_the_smallest_loss(sure: PreTrainedModel, noisy: Task) -> None:
    run = StepContext(device="cpu")
    calibrated = calibrate(sure, task=noisy, run=run)
    temperature = run.facts["temperature"]
    assert temperature > 1.5
    torch.testing.assert_close(logits_of(calibrated), logits_of(sure) / temperature)
    answers, labels = answered(sure, noisy)
    true = torch.from_numpy(labels)
    losses = [functional.cross_entropy(torch.from_numpy(answers) / (temperature * factor), true) for factor in (0.98, 1, 1.02)]
    assert losses[1] < min(losses[0], losses[2])
    assert run.facts["reliability"]["after"]["nll"] == pytest.approx(losses[1].item(), rel=1e-4)
    assert run.facts["reliability"]["after"]["ece"] < run.facts["reliability"]["before"]["ece"]
    low, high = run.facts["temperature_ci95"]
    assert low < temperature < high


def test_every_answer_stays(sure: PreTrainedModel, noisy: Task) -> None:
    before, after = (answered(model, noisy)[0] for model in (sure, calibrate(sure, task=noisy)))
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


def test_the_evaluation_part_is_not_looked_at(sure: PreTrainedModel, noisy: Task) -> None:
    other = replace(noisy, evaluation=replace(noisy.evaluation, labels=1 - noisy.evaluation.labels))
    assert torch.equal(logits_of(calibrate(sure, task=noisy)), logits_of(calibrate(sure, task=other)))


def test_it_is_saved_and_loaded_with_the_same_answers(sure: PreTrainedModel, noisy: Task, tmp_path: Path) -> None:
    calibrated = calibrate(sure, task=noisy)
    again = load(save(calibrated, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(calibrated))


def test_what_is_calibrated_already_has_nothing_to_gain(sure: PreTrainedModel, noisy: Task) -> None:
    with pytest.raises(NoEffect, match="a temperature of 1: the probabilities are what they say already; remove the step"):
        calibrate(calibrate(sure, task=noisy), task=noisy)


def test_a_model_that_is_always_right_is_as_sure_as_so_many_rows_allow(
    sure: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    task = toy_task(train=80, others=60)
    right = answered(sure, task)[0].argmax(1)
    task = replace(task, selection=replace(task.selection, labels=right))
    calibrated = calibrate(sure, task=task)
    answers, labels = answered(calibrated, task)
    odds = torch.from_numpy(answers).softmax(-1).numpy()
    assert odds[np.arange(60), labels].mean() == pytest.approx(61 / 62, abs=1e-4)
    assert "all answers to the selection part are right" in caplog.text


def test_an_empty_selection_part_is_refused() -> None:
    task = toy_task()
    with pytest.raises(InputError, match="the task's selection part, which is empty"):
        calibrate(tiny_bert(), task=replace(task, selection=task.selection.pick(np.zeros(0, dtype=np.int64))))


@pytest.mark.parametrize("kind", ["multi-label-classification", "token-classification"])
def test_other_kinds_with_probabilities_are_calibrated(kind: str, tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS[kind](tmp_path, 240))}, kind=kind, max_length=24, allow_unknown=True)
    model, run = tiny_for(read), StepContext(device="cpu")
    calibrated = calibrate(model, task=read, run=run)
    before, labels = answered(model, read)
    after, _ = answered(calibrated, read)
    np.testing.assert_allclose(after, before / run.facts["temperature"], rtol=1e-4, atol=1e-6)
    losses = [load_kind(kind).confidence(answers, labels).losses.mean() for answers in (before, after)]  # type: ignore[union-attr]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("kind", ["regression", "question-answering"])
def test_outputs_that_are_no_probabilities_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=24, allow_unknown=True)
    with pytest.raises(InputError, match=f"probabilities, which those of {kind} are not; remove the step"):
        calibrate(tiny_for(read), task=read, run=StepContext(device="cpu", rehearsal=True))


@pytest.mark.parametrize("family", STRUCTURES)
def test_every_family_s_outputs_are_divided(family: str) -> None:
    model, run = tiny_of(family), StepContext(device="cpu")
    torch.testing.assert_close(
        logits_of(calibrate(model, task=toy_task(), run=run)), logits_of(model) / run.facts["temperature"]
    )


@pytest.mark.parametrize("kind", ["bilstm", "static"])
def test_students_without_an_encoder_are_calibrated(kind: str) -> None:
    model, run = build_student(tiny_bert(), task=toy_task(), kind=kind), StepContext(device="cpu")
    torch.testing.assert_close(
        logits_of(calibrate(model, task=toy_task(), run=run)), logits_of(model) / run.facts["temperature"]
    )


def test_a_model_that_quantizes_is_calibrated() -> None:
    task, run = toy_task(), StepContext(device="cpu")
    model = quantize_aware(tiny_bert(), task=task, epochs=1, batch_size=20, run=StepContext(device="cpu"))
    calibrated = calibrate(model, task=task, run=run)
    torch.testing.assert_close(logits_of(calibrated), logits_of(model) / run.facts["temperature"])


def test_facts_are_what_json_can_hold(sure: PreTrainedModel, noisy: Task) -> None:
    run = StepContext(device="cpu")
    calibrate(sure, task=noisy, run=run)
    assert json.loads(json.dumps(run.facts)) == run.facts
