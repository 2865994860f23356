"""Layers of a successor stand in for groups of the model's own, and in the end alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.drop_layers import drop_layers
from compress.methods.theseus import theseus
from compress.models.surgery import keep_layers
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tokens, without_dropout

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


def test_the_successor_has_a_layer_for_each_group_and_nothing_of_the_predecessor_stays(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert(layers=4)
    successor = theseus(model, task=toy, modules=2, **QUICK)
    assert state_of(successor).keys() == state_of(drop_layers(model, keep=[0, 1])).keys()
    again = cp.load(cp.save(successor, tmp_path / "saved"))
    assert torch.equal(logits_of(successor), logits_of(again))
    assert all(parameter.requires_grad for parameter in successor.parameters())


def test_only_the_successor_s_layers_learn(toy: Task) -> None:
    model = tiny_bert(layers=4)
    moved = differences(state_of(theseus(model, task=toy, modules=2, **QUICK)), state_of(drop_layers(model, keep=[0, 1])))
    assert moved
    assert all(name.startswith("bert.encoder.layer.") for name in moved)


@pytest.mark.parametrize(("start", "kept"), [("first", [0, 1]), ("uniform", [1, 3])])
def test_the_successor_begins_with_layers_of_the_predecessor(toy: Task, start: Any, kept: list[int]) -> None:
    model = tiny_bert(layers=4)
    begun = theseus(model, task=toy, modules=2, start_from=start, **{**QUICK, "learning_rate": 1e-12}, weight_decay=0.0)
    expected = drop_layers(model, keep=kept)
    for name, tensor in state_of(begun).items():
        torch.testing.assert_close(tensor, state_of(expected)[name], atol=1e-6, rtol=0)


def test_what_is_not_replaced_is_computed_by_the_predecessor_s_layers(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate near 0, one layer stands in; at 1, the successor is alone. Judged is the successor at every rate."""
    model = tiny_bert(layers=4, **without_dropout())
    successor = drop_layers(model, keep=[0, 1])
    mixed = [logits_of(keep_layers(model, keep)) for keep in ([0, 2, 3], [0, 1, 1])]
    answers = []

    def watched(student: PreTrainedModel, **options: Any) -> PreTrainedModel:
        options["before_step"](student, 0, 10)
        student.train()
        with torch.no_grad():
            answers.append(student(**tokens()).logits)
        answers.append(logits_of(student.eval()))
        return student

    monkeypatch.setattr("compress.methods.theseus.train", watched)
    for rate in (1e-9, 1.0):
        theseus(model, task=toy, modules=2, replacing="constant", rate=rate)
    assert min((answers[0] - expected).abs().max() for expected in mixed) < 1e-5
    for logits in answers[1:]:
        torch.testing.assert_close(logits, logits_of(successor))


def test_a_rising_rate_reaches_one_and_draws_are_of_the_step_and_the_seed_alone(
    toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[list[bool]] = []

    def watched(student: PreTrainedModel, **options: Any) -> PreTrainedModel:
        drawn = []
        for step in range(100):
            options["before_step"](student, step, 100)
            layers = student.bert.encoder.layer
            drawn.append([layer.forward.__closure__ is not None and _is_own(layer) for layer in layers])
        replaced.append([index for row in drawn for index in row])
        return student

    def _is_own(layer: Any) -> bool:
        cells = dict(zip(layer.forward.__code__.co_freevars, layer.forward.__closure__, strict=True))
        return cells["predecessor"].cell_contents is None

    monkeypatch.setattr("compress.methods.theseus.train", watched)
    for seed in (1, 1, 2):
        theseus(tiny_bert(layers=4), task=toy, modules=2, rate=0.2, replaced_by=0.5, run=StepContext(seed=seed))
    first, again, other = replaced
    assert first == again != other
    assert all(first[100:])
    assert 0.3 < sum(first[:100]) / 100 < 0.85  # the mean of a rate that rises from 0.2 to 1 is 0.6


@pytest.mark.parametrize("modules", [3, 5])
def test_groups_must_be_of_one_size(toy: Task, modules: int) -> None:
    model = forbid_forward_passes(tiny_bert(layers=4))
    said = rf"theseus\.modules is {modules}, which does not divide the model's 4 layers; use 1 or 2"
    with pytest.raises(InputError, match=said):
        theseus(model, task=toy, modules=modules)


def test_as_many_layers_as_before_is_no_effect(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(NoEffect, match=r"theseus\.modules is 2"):
        theseus(forbid_forward_passes(model), task=toy, modules=2)


@pytest.mark.parametrize(
    ("name", "value"), [*OUT_OF_RANGE, ("rate", 0.0), ("rate", 1.1), ("replaced_by", 0.0), ("modules", 0)]
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"theseus\.{name}"):
        theseus(forbid_forward_passes(model), task=toy, **{"modules": 1, name: value})
