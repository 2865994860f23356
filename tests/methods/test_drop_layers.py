"""Layers are dropped from a copy, or a sentence says why not."""

from __future__ import annotations

import pytest
import torch

from compress.errors import InputError, NoEffect
from compress.methods.drop_layers import drop_layers
from tests.models import differences, logits_of, state_of, tiny_bert


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


@pytest.mark.parametrize(("keep", "said"), [
    ([], "is empty, but the model has layers 0 to 2"), ([3], "names layer 3, but"), ([0, -1, 9], "names layer -1, 9, but"),
    ([1, 0], r"name each layer once, in rising order: \[0, 1\]"), ([0, 0], r"in rising order: \[0\]"),
])  # fmt: skip
def test_layers_that_cannot_be_kept_are_refused(keep: list[int], said: str) -> None:
    with pytest.raises(InputError, match=rf"drop_layers\.keep .*{said}"):
        drop_layers(tiny_bert(layers=3), keep=keep)


def test_keeping_every_layer_raises_no_effect() -> None:
    with pytest.raises(NoEffect, match="names all 3 layers; leave some out, or remove the step"):
        drop_layers(tiny_bert(layers=3), keep=[0, 1, 2])
