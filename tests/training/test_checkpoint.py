"""A run that was stopped goes on exactly where it was, or starts again and says so."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers
from compress.training.checkpoint import FILE, Position, load_checkpoint, save_checkpoint
from compress.training.loop import train
from compress.training.settings import Settings
from compress.training.step_context import StepContext
from compress.training.training_loss import TrainingLoss
from tests.tiny_models import differences, state_of, tiny_bert, toy_task
from tests.training.settings import LABELS_LOSS, settings


class Stopped(Exception):
    """Raised where a test stops a run."""


def stop_at(step: int) -> Callable[..., None]:
    """Stop when the loop tells of this optimizer step."""

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        if what == "train" and done == step:
            raise Stopped

    return progress


def steps_told(into: list[int]) -> Callable[..., None]:
    """Note the optimizer steps that the loop tells of."""
    return lambda what, done, total, **facts: into.append(done) if what == "train" else None


def stopped(
    model: PreTrainedModel, task: Task, folder: Path, step: int, how: Settings, goal: TrainingLoss = LABELS_LOSS
) -> None:
    """Train with a checkpoint after each step, and stop at one of them, before it is kept."""
    run = StepContext(folder=folder, progress=stop_at(step), checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        train(model, task=task, settings=how, goal=goal, run=run)


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (1, {}),  # before the first checkpoint
        (4, {}),  # in the middle of the first of two epochs of 5 steps
        (5, {}),  # at its last step
        (6, {}),  # at the first step of the second
        (9, {}),
        (2, {"accumulate": 2}),  # 3 steps an epoch, of 2, 2 and 1 batches
        (3, {"accumulate": 2}),
        (5, {"accumulate": 2}),
        (7, {"epochs": 1.5}),  # 8 steps, the last epoch cut short
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(
    model: PreTrainedModel, toy: Task, tmp_path: Path, step: int, changes: dict[str, Any]
) -> None:
    how, whole, resumed = settings(**changes), StepContext(), StepContext(folder=tmp_path)
    steps: list[int] = []
    resumed.progress = steps_told(steps)
    expected = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=whole)
    stopped(model, toy, tmp_path, step, how)
    trained = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=resumed)
    assert steps[0] == step  # the stopped step was not kept, and no other step is done twice
    assert not differences(state_of(trained), state_of(expected))
    for fact in ("metrics", "best_epoch", "epochs", "curve", "optimizer_steps", "examples"):
        assert resumed.facts[fact] == whole.facts[fact]


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_resumed_run_asks_the_caller_before_the_steps_that_are_left(
    model: PreTrainedModel, toy: Task, tmp_path: Path, step: int
) -> None:
    stopped(model, toy, tmp_path, step, settings())
    asked: list[tuple[int, int]] = []
    train(
        model,
        task=toy,
        settings=settings(),
        goal=LABELS_LOSS,
        run=StepContext(folder=tmp_path),
        before_step=lambda trained, number, total: asked.append((number, total)),
    )
    assert asked == [(number, 10) for number in range(step - 1, 10)]


def test_a_run_stopped_twice_equals_an_uninterrupted_one(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    how = settings()
    expected = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext())
    for step in (3, 8):
        stopped(model, toy, tmp_path, step, how)
    resumed = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext(folder=tmp_path))
    assert not differences(state_of(resumed), state_of(expected))


def test_the_best_epoch_survives_the_stop(model: PreTrainedModel, toy: Task, tmp_path: Path, scores: list[float]) -> None:
    scores[:] = [0.9, 0.1, 0.2] * 2
    how = settings(epochs=3.0)
    expected = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext())
    scores[:] = [0.9, 0.1, 0.2]
    stopped(model, toy, tmp_path, 12, how)
    run = StepContext(folder=tmp_path)
    resumed = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=run)
    assert run.facts["best_epoch"] == 1
    assert not differences(state_of(resumed), state_of(expected))


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The selection scores that epochs get, one after another, whatever the model says."""
    coming: list[float] = []
    monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": coming.pop(0)})
    return coming


def test_a_run_that_has_ended_is_taken_from_its_checkpoint(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    first = train(model, task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext(folder=tmp_path))
    steps: list[int] = []
    again = train(
        model, task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext(folder=tmp_path, progress=steps_told(steps))
    )
    assert steps == []
    assert not differences(state_of(first), state_of(again))


@pytest.mark.parametrize(
    "other",
    [
        "settings",
        "seed",
        "weight",
        "steps",
        "objective",
        "task",
        "model",
        "teacher",
        "hidden words",
    ],
)
def test_a_checkpoint_of_another_run_is_not_taken_up(model: PreTrainedModel, toy: Task, tmp_path: Path, other: str) -> None:
    stopped(model, toy, tmp_path, 4, settings())
    (_, term), steps = LABELS_LOSS.terms["labels"], list[int]()
    how, goal, run = settings(), LABELS_LOSS, StepContext(folder=tmp_path, progress=steps_told(steps))
    if other == "settings":
        how = settings(learning_rate=2e-3)
    elif other == "seed":
        run.seed = 14
    elif other == "weight":
        goal = TrainingLoss({"labels": (2.0, term)})
    elif other == "steps":
        run.max_steps = 8
    elif other == "objective":
        goal = TrainingLoss({"others": (1.0, term)})
    elif other == "task":
        toy = toy_task(others=14)
    elif other == "model":
        model = tiny_bert(layers=1)
    elif other == "teacher":
        goal = TrainingLoss(LABELS_LOSS.terms, teacher=KnownAnswers(np.zeros((len(toy.train), 2), dtype=np.float32), {}))
    elif other == "hidden words":
        goal = TrainingLoss(LABELS_LOSS.terms, mlm_probability=0.15)
    train(model, task=toy, settings=how, goal=goal, run=run)
    assert steps[0] == 1


@pytest.mark.parametrize("kept", [0, 7, 300, 5000, -1])
def test_a_damaged_checkpoint_starts_the_step_again_and_says_so(
    model: PreTrainedModel, toy: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int
) -> None:
    expected = train(model, task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext())
    stopped(model, toy, tmp_path, 4, settings())
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:kept])
    with caplog.at_level(logging.WARNING, logger="compress.training.checkpoint"):
        trained = train(model, task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext(folder=tmp_path))
    assert "cannot be read" in caplog.text
    assert "starts again" in caplog.text
    assert not differences(state_of(trained), state_of(expected))


def test_no_folder_keeps_no_checkpoint(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(model, task=toy, settings=settings(epochs=1.0), goal=LABELS_LOSS, run=StepContext(checkpoint_seconds=0.0))
    assert os.listdir(tmp_path) == []


def one_step(model: torch.nn.Module) -> torch.optim.Optimizer:
    """An optimizer with moments."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_weights_moments_position_best_weights_and_mean_come_back(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    best, mean = ({"weight": torch.randn(2, 3), "bias": torch.zeros(2)} for _ in range(2))
    optimizer = one_step(model)
    position = Position(
        epoch=2,
        batch=3,
        step=17,
        examples=90,
        seconds=1.5,
        history=[{"selection_accuracy": 0.5}],
        curve=[[1, 0.25]],
        best_epoch=1,
    )
    save_checkpoint(tmp_path, position, model, optimizer, best, mean, "this run")
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.AdamW(other.parameters(), lr=0.1)
    checkpoint = load_checkpoint(tmp_path, other, fresh, "this run")
    assert checkpoint is not None
    assert checkpoint[0] == position
    assert checkpoint[1] is not None
    assert not differences(checkpoint[1], best)
    assert checkpoint[2] is not None
    assert not differences(checkpoint[2], mean)
    assert not differences(state_of(other), state_of(model))
    moments = optimizer.state_dict()["state"]
    for index, state in fresh.state_dict()["state"].items():
        assert not differences(state, moments[index])
    assert set(moments) == set(fresh.state_dict()["state"])


def test_a_save_that_fails_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = one_step(model)
    save_checkpoint(tmp_path, Position(step=1), model, optimizer, None, None, "this run")

    def fail(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_text("half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("compress.training.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, Position(step=2), model, optimizer, None, None, "this run")
    checkpoint = load_checkpoint(tmp_path, model, optimizer, "this run")
    assert checkpoint is not None
    assert checkpoint[0].step == 1
    assert checkpoint[1:] == (None, None)
    assert os.listdir(tmp_path) == [FILE]


def test_no_checkpoint_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    assert load_checkpoint(tmp_path / "nowhere", model, one_step(model), "this run") is None


@pytest.mark.parametrize("harm", ["weights", "position", "what", "cut", "none"])
def test_a_checkpoint_whose_contents_changed_starts_the_step_again_and_says_so(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = one_step(model)
    save_checkpoint(tmp_path, Position(step=1), model, optimizer, None, None, "this run")
    content = bytearray((tmp_path / FILE).read_bytes())
    if harm == "weights":
        content[-1] ^= 1
    elif harm == "cut":
        del content[-1:]
    elif harm != "none":
        old, new = {"position": (rb"\"step\": 1", rb"\"step\": 7"), "what": (b"this run", b"that run")}[harm]
        assert old in content
        content = content.replace(old, new)
    (tmp_path / FILE).write_bytes(content)
    checkpoint = load_checkpoint(tmp_path, model, optimizer, "that run" if harm == "what" else "this run")
    assert (checkpoint is not None) is (harm == "none")
    assert ("the step starts again" in caplog.text) is (harm != "none")
