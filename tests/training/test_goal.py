"""What a goal asks of the loop besides its terms: rates of their own, and epochs that do not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from compress.tasks.labelled import Task
from compress.training.loop import train
from compress.training.step_context import StepContext
from compress.training.training_loss import TrainingLoss
from tests.tiny_models import state_of, tiny_bert
from tests.training.settings import LABELS_LOSS, settings


class Doubled(nn.Module):
    """A parametrization: twice the weight."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 2


def test_a_parametrized_weight_is_decayed_like_a_plain_one(toy: Task) -> None:
    model = tiny_bert()
    linear = model.bert.encoder.layer[0].output.dense
    weight = linear.weight.detach().clone()
    parametrize.register_parametrization(linear, "weight", Doubled())
    goal = TrainingLoss({"nothing": (1.0, lambda student, teacher, batch: student.logits.sum() * 0.0)})
    how = settings(epochs=1.0, batch_size=20, weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup=0.0)
    trained = train(model, task=toy, settings=how, goal=goal, run=StepContext())
    torch.testing.assert_close(trained.bert.encoder.layer[0].output.dense.weight, weight * 2 * 0.95**2)


def test_a_parameter_with_a_rate_of_its_own_goes_so_far_in_a_step_and_is_not_decayed(toy: Task) -> None:
    """AdamW's first step is as long as the rate, whatever the gradient; here half of it, in the middle of warm-up."""
    goal = replace(LABELS_LOSS, rates={"classifier.weight": 0.1})
    how = settings(weight_decay=0.9, clip_norm=1e9, warmup=0.9, schedule="constant")
    model = tiny_bert()
    trained = state_of(train(model, task=toy, settings=how, goal=goal, run=StepContext(max_steps=1)))
    moved = {name: (trained[name] - tensor).abs() for name, tensor in state_of(model).items()}
    torch.testing.assert_close(moved["classifier.weight"], torch.full((2, 16), 0.05), rtol=1e-2, atol=0)
    torch.testing.assert_close(moved["classifier.bias"], torch.full((2,), 5e-4), rtol=1e-2, atol=0)


@pytest.mark.parametrize(("rates", "picks_from"), [({"bias": 0.3}, 0.0), ({}, 0.5)])
def test_another_run_s_checkpoint_is_not_taken_up(
    toy: Task, tmp_path: Path, rates: dict[str, float], picks_from: float
) -> None:
    steps: list[int] = []
    train(tiny_bert(), task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext(folder=tmp_path))
    other = replace(LABELS_LOSS, rates=rates, picks_from=picks_from)
    run = StepContext(folder=tmp_path, progress=lambda what, done, total, **_: steps.append(done) if what == "train" else None)
    train(tiny_bert(), task=toy, settings=settings(), goal=other, run=run)
    assert steps[0] == 1


@pytest.mark.parametrize(("picks_from", "best"), [(0.0, 1), (0.2, 1), (0.22, 2), (0.5, 3), (0.75, 4), (1.0, 4)])
def test_only_epochs_that_end_late_enough_are_picked(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch, picks_from: float, best: int
) -> None:
    """Epochs end with steps 4, 9, 14 and 19 of 0 to 19, at 0.21, 0.47, 0.74 and 1 of the way; each does worse than the one
    before."""
    scores = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": next(scores)})
    run = StepContext()
    train(model, task=toy, settings=settings(epochs=4.0), goal=replace(LABELS_LOSS, picks_from=picks_from), run=run)
    assert run.facts["best_epoch"] == best


def test_patience_begins_with_the_first_epoch_that_counts(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": next(scores)})
    run = StepContext()
    train(model, task=toy, settings=settings(epochs=5.0, patience=1), goal=replace(LABELS_LOSS, picks_from=0.5), run=run)
    assert len(run.facts["epochs"]) == 4
    assert run.facts["best_epoch"] == 3
