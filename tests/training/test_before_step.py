"""A caller of the loop is asked before each step, and what it does there counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.tasks.labelled import Task
from compress.training.loop import train
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.training.settings import LABELS_LOSS, settings


@pytest.mark.parametrize(("changes", "max_steps", "steps"), [({}, None, 10), ({"accumulate": 2}, None, 6), ({}, 3, 3)])
def test_the_caller_is_asked_before_each_step_with_the_copy_that_trains(
    model: PreTrainedModel, toy: Task, changes: dict[str, Any], max_steps: int | None, steps: int
) -> None:
    calls: list[tuple[int, int]] = []
    biases: list[torch.Tensor] = []

    def before_step(trained: PreTrainedModel, step: int, total: int) -> None:
        calls.append((step, total))
        biases.append(trained.classifier.bias.detach().clone())
        assert trained is not model
        assert trained.training

    run, how = StepContext(max_steps=max_steps), settings(**changes)
    train(model, task=toy, settings=how, goal=LABELS_LOSS, run=run, before_step=before_step)
    assert calls == [(step, steps) for step in range(steps)]
    assert torch.equal(biases[0], model.classifier.bias)
    assert not torch.equal(biases[0], biases[-1])


def test_what_the_caller_changes_before_a_step_counts_in_it(model: PreTrainedModel, toy: Task) -> None:
    """A bias that is set anew before every step ends one step of AdamW away from there, at the highest rate."""

    def before_step(trained: PreTrainedModel, step: int, total: int) -> None:
        with torch.no_grad():
            trained.classifier.bias.fill_(7.0)

    how = settings(epochs=1.0, schedule="constant", warmup=0.0)
    trained = train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext(), before_step=before_step)
    assert ((trained.classifier.bias - 7).abs() < 5e-3).all()
    assert (trained.classifier.bias != 7).all()


def test_a_caller_that_refuses_a_step_ends_the_run_before_the_model_answers(model: PreTrainedModel, toy: Task) -> None:
    def before_step(trained: PreTrainedModel, step: int, total: int) -> None:
        raise CompressError("not like this")

    forbid_forward_passes(model)
    with pytest.raises(CompressError, match="not like this"):
        train(model, task=toy, settings=settings(), goal=LABELS_LOSS, run=StepContext(), before_step=before_step)
