"""Layers are dropped from a copy, or a sentence says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.errors import InputError, NoEffect
from compress.methods.drop_layers import drop_layers
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.tiny_models import differences, logits_of, state_of, tiny_bert


@pytest.mark.parametrize("keep", [[0], [2], [0, 2], [1, 2]])
def test_the_copy_has_the_layers_to_keep_and_everything_else(keep: list[int]) -> None:
    model = tiny_bert(layers=3)
    student = drop_layers(model, keep=keep)
    expected = {}
    for name, tensor in state_of(model).items():
        if ".layer." not in name:
            expected[name] = tensor
        elif (index := int(name.split(".")[3])) in keep:
            expected[name.replace(f".layer.{index}.", f".layer.{keep.index(index)}.")] = tensor
    assert not differences(state_of(student), expected)
    assert student.config.num_hidden_layers == len(keep)
    assert logits_of(student).shape == (4, 2)


def test_the_model_that_comes_in_stays_bit_for_bit() -> None:
    model = tiny_bert(layers=3)
    before, said, config = state_of(model), logits_of(model), model.config.to_dict()
    student = drop_layers(model, keep=[0, 1])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), said)
    assert model.config.to_dict() == config


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ([], "at least 1 item"),
        ([0, -1], "is -1"),
        ([3], "names layer 3, but the model has 0 to 2"),
        ([0, 8, 9], "names layer 8, 9, but"),
        ([1, 0], r"name each layer once, in rising order: \[0, 1\]"),
        ([0, 0], r"in rising order: \[0\]"),
    ],
)
def test_layers_that_cannot_be_kept_are_refused(keep: list[int], said: str) -> None:
    with pytest.raises(InputError, match=rf"drop_layers\.keep.*{said}"):
        drop_layers(tiny_bert(layers=3), keep=keep)


def test_keeping_every_layer_raises_no_effect() -> None:
    with pytest.raises(NoEffect, match="names all 3 layers; leave some out, or remove the step"):
        drop_layers(tiny_bert(layers=3), keep=[0, 1, 2])


@pytest.mark.parametrize(
    ("by", "layers", "stay"),
    [
        (None, 2, [0, 1]),
        ("top", 4, [0, 1, 2, 3]),
        ("bottom", 2, [4, 5]),
        ("symmetric", 3, [0, 1, 5]),
        ("symmetric", 4, [0, 1, 4, 5]),
        ("symmetric", 1, [0]),
        ("alternate", 3, [0, 2, 5]),
        ("alternate", 1, [2]),
    ],
)
def test_a_strategy_says_which_layers_stay(by: Any, layers: int, stay: list[int]) -> None:
    model = tiny_bert(layers=6)
    assert not differences(state_of(drop_layers(model, layers=layers, by=by)), state_of(drop_layers(model, keep=stay)))


def test_layers_that_change_what_they_read_least_go_first(toy: Task) -> None:
    model: Any = tiny_bert(layers=4)
    with torch.no_grad():
        for index in (1, 2):
            layer = model.bert.encoder.layer[index]
            for linear in (layer.attention.output.dense, layer.output.dense):
                linear.weight.mul_(1e-3)
                linear.bias.zero_()
            for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
                norm.weight.fill_(1)
                norm.bias.zero_()
    run = StepContext(device="cpu")
    student = drop_layers(model, layers=2, by="contribution", task=toy, run=run)
    assert not differences(state_of(student), state_of(drop_layers(model, keep=[0, 3])))
    assert min(run.facts["similarity"][1:3]) > max(run.facts["similarity"][::3])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "keep is missing, and so is layers; give one"),
        ({"keep": [0], "layers": 1}, "keep and layers are both given; give one"),
        ({"keep": [0], "by": "top"}, "by is top, but keep names"),
        ({"layers": 4}, "layers is 4, but the model has 3"),
        ({"layers": 0}, r"drop_layers\.layers"),
        ({"layers": 2, "by": "middle"}, r"drop_layers\.by"),
        ({"layers": 2, "by": "contribution"}, "measured on a task; give one"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        drop_layers(tiny_bert(layers=3), **arguments)
    assert caught.value.exit_code == 2


def test_as_many_layers_as_there_are_have_no_effect() -> None:
    with pytest.raises(NoEffect, match="layers is 3, as many as the model has"):
        drop_layers(tiny_bert(layers=3), layers=3)
