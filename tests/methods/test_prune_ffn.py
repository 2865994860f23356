"""Neurons that the loss does not need go first, over all layers, in multiples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.errors import InputError, NoEffect
from compress.methods.prune_ffn import prune_ffn
from compress.methods.quantize_aware import quantize_aware
from compress.models.layout import distinct_layers, neuron_count
from compress.models.surgery import keep_neurons
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import LABELS, logits_of, tiny_bert, tiny_of, toy_task

HOW = ("magnitude", "taylor", "fisher")


def neurons_of(model: Any) -> list[int]:
    return [neuron_count(layer) for layer in distinct_layers(model)]


@pytest.mark.parametrize("importance", HOW)
@pytest.mark.parametrize(("fraction", "left"), [(0.25, 36), (0.5, 24), (0.9, 4), (1.0, 0)])
def test_so_many_neurons_go_in_multiples(toy: Task, importance: Any, fraction: float, left: int) -> None:
    run = StepContext(device="cpu")
    pruned = prune_ffn(tiny_bert(), task=toy, fraction=fraction, importance=importance, multiple_of=4, run=run)
    assert sum(neurons_of(pruned)) == left
    assert all(count % 4 == 0 for count in neurons_of(pruned))
    assert run.facts["neurons"] == neurons_of(pruned)
    assert torch.isfinite(logits_of(pruned)).all()


@pytest.mark.parametrize("importance", HOW)
def test_neurons_that_answer_nothing_go_first(toy: Task, importance: Any) -> None:
    model: Any = tiny_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[:, :16] = 0
        model.bert.encoder.layer[1].output.dense.weight[:, 20:] = 0
    pruned = prune_ffn(model, task=toy, fraction=20 / 48, importance=importance, multiple_of=1)
    assert neurons_of(pruned) == [8, 20]
    torch.testing.assert_close(logits_of(pruned), logits_of(model))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
def test_every_family_loses_neurons(toy: Task, kind: str) -> None:
    model = tiny_of(kind)
    pruned = prune_ffn(model, task=toy, fraction=0.5, multiple_of=4)
    assert sum(neurons_of(pruned)) == sum(neurons_of(model)) // 2


def refused(model: Any, toy: Task, said: str, **arguments: Any) -> None:
    with pytest.raises(InputError, match=said) as caught:
        prune_ffn(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fraction": 0.0}, r"prune_ffn\.fraction"),
        ({"fraction": 1.1}, r"prune_ffn\.fraction"),
        ({"fraction": 0.5, "importance": "best"}, r"prune_ffn\.importance"),
        ({"fraction": 0.5, "multiple_of": 25}, "multiple_of is 25, but no layer has more than 24 neurons"),
        ({"fraction": 0.5, "examples": 0}, r"prune_ffn\.examples"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, arguments: dict[str, Any], said: str) -> None:
    refused(tiny_bert(), toy, said, **arguments)


def test_models_that_cannot_be_pruned_are_refused(toy: Task) -> None:
    refused(keep_neurons(tiny_bert(), [[], []]), toy, "has no feed-forward neurons; remove the step", fraction=0.5)
    refused(quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8), toy, "prune it before quantize_aware", fraction=0.5)
    refused(tiny_bert(labels=(*LABELS, "so")), toy, "the model has 3 labels, but the task has 2", fraction=0.5)
    refused(tiny_bert(), toy_task(train=0), "train part is empty", fraction=0.5, multiple_of=4)


def test_less_than_half_a_neuron_has_no_effect(toy: Task) -> None:
    with pytest.raises(NoEffect, match="less than half of one of 48 neurons"):
        prune_ffn(tiny_bert(), task=toy, fraction=0.01, multiple_of=1)
