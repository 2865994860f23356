"""The mean of the weights over the last part of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.tasks.labelled import Task
from compress.training.average import SAMPLES, sample_number, standing_in, taken_in
from compress.training.loop import train
from compress.training.step_context import StepContext
from tests.tiny_models import differences, state_of
from tests.training.settings import LABELS_LOSS, settings
from tests.training.test_checkpoint import stopped


@pytest.mark.parametrize(
    ("fraction", "total", "steps"),
    [
        (0.0, 10, []),
        (0.01, 10, []),
        (0.1, 10, [10]),
        (0.5, 10, [6, 7, 8, 9, 10]),
        (1.0, 3, [1, 2, 3]),
        (1.0, 1, [1]),
        (0.5, 1000, list(range(505, 1001, 5))),
        (0.3, 1000, list(range(703, 1001, 3))),
        (1.0, 250, list(range(2, 251, 2))),
    ],
)
def test_samples_lie_evenly_in_the_last_part_and_are_counted_from_one(fraction: float, total: int, steps: list[int]) -> None:
    numbers = {step: sample_number(fraction, step, total) for step in range(1, total + 1)}
    assert [step for step, number in numbers.items() if number] == steps
    assert [numbers[step] for step in steps] == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("total", [1, 7, 99, 100, 101, 1999, 20000])
def test_there_are_never_twice_as_many_samples_as_wanted(total: int) -> None:
    assert sum(sample_number(1.0, step, total) > 0 for step in range(1, total + 1)) <= 2 * SAMPLES


def test_the_mean_is_that_of_the_samples_and_not_tied_to_the_model() -> None:
    model = nn.Linear(2, 1)
    values, mean = [3.0, 5.0, 10.0], None
    for number, value in enumerate(values, 1):
        nn.init.constant_(model.weight, value)
        mean = taken_in(mean, model, number)
    assert mean is not None
    torch.testing.assert_close(mean["weight"], torch.full((1, 2), 6.0))
    assert model.weight[0, 0] == 10.0
    with standing_in(mean, model):
        torch.testing.assert_close(model.weight.detach(), torch.full((1, 2), 6.0))
    assert model.weight[0, 0] == 10.0


def test_nothing_stands_in_where_there_is_no_mean() -> None:
    model = nn.Linear(2, 1)
    before = state_of(model)
    with standing_in(None, model):
        assert not differences(state_of(model), before)


def test_training_gives_the_mean_of_the_weights_after_its_last_steps(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps, of which the last four are averaged; the weights after each are noted from outside."""
    seen: list[torch.Tensor] = []  # the classifier's, which is the last weight that is decayed
    step = torch.optim.AdamW.step

    def noting(optimizer: torch.optim.AdamW, *arguments: object) -> object:
        done = step(optimizer, *arguments)
        seen.append(optimizer.param_groups[0]["params"][-1].detach().clone())
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": len(seen) / 10})
    trained = train(model, task=toy, settings=settings(average=0.4), goal=LABELS_LOSS, run=StepContext())
    assert len(seen) == 10
    classifier = trained.classifier.weight
    torch.testing.assert_close(classifier.detach(), torch.stack(seen[6:]).mean(0), rtol=0, atol=1e-6)
    assert not torch.allclose(classifier, seen[-1], atol=1e-6)


@pytest.mark.parametrize("step", [3, 7, 9])
def test_stopped_and_resumed_gives_the_same_mean(model: PreTrainedModel, toy: Task, tmp_path: Path, step: int) -> None:
    how = settings(average=0.5)
    expected = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext())
    stopped(model, toy, tmp_path, step, how)
    resumed = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext(folder=tmp_path))
    assert not differences(state_of(resumed), state_of(expected))
