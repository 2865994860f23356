"""A layer whose neurons and heads were shuffled is brought back, and answers as before in any case."""

from __future__ import annotations

import copy
from typing import Any

import torch

from compress.models.alignment import align_heads, align_neurons
from compress.models.layout import projections_of
from compress.models.principal import observe
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tokens

WATCHED = {"neurons": "output.dense", "heads": "attention.output.dense"}


def layers_of(model: Any) -> Any:
    return model.bert.encoder.layer


def seen_by(model: Any, index: int) -> dict[str, torch.Tensor]:
    """What the second Linears of a layer's parts read."""
    batches = [tokens(seed, (9, 7, 8, 5)) for seed in range(12)]
    layer = layers_of(model)[index]
    return observe(model, batches, {name: (layer.get_submodule(path), True) for name, path in WATCHED.items()})


@torch.no_grad()
def shuffled_neurons(layer: Any) -> None:
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    layer.intermediate.dense.weight.copy_(layer.intermediate.dense.weight[order])
    layer.intermediate.dense.bias.copy_(layer.intermediate.dense.bias[order])
    layer.output.dense.weight.copy_(layer.output.dense.weight[:, order])


@torch.no_grad()
def shuffled_heads(layer: Any) -> None:
    """Heads in another order, and the dimensions inside each turned."""
    random = torch.Generator().manual_seed(1)
    columns = (torch.tensor([2, 0, 3, 1])[:, None] * 4 + torch.arange(4)).flatten()
    query, key, value = projections_of(layer)
    for linear in (query, key, value):
        linear.weight.copy_(linear.weight[columns])
        linear.bias.copy_(linear.bias[columns])
    behind = layer.attention.output.dense
    behind.weight.copy_(behind.weight[:, columns])
    for rows in torch.arange(16).split(4):
        turns = [torch.linalg.qr(torch.randn(4, 4, generator=random)).Q for _ in range(2)]
        for linear, turn in ((query, turns[0]), (key, turns[0]), (value, turns[1])):
            linear.weight[rows], linear.bias[rows] = turn @ linear.weight[rows], turn @ linear.bias[rows]
        behind.weight[:, rows] = behind.weight[:, rows] @ turns[1].T


def test_shuffled_neurons_come_back() -> None:
    model = tiny_bert()
    other = copy.deepcopy(model)
    shuffled_neurons(layers_of(other)[0])
    assert differences(state_of(model), state_of(other))
    align_neurons(layers_of(other)[0], layers_of(model)[0], seen_by(other, 0)["neurons"], seen_by(model, 0)["neurons"])
    assert not differences(state_of(model), state_of(other))


def test_shuffled_and_turned_heads_come_back() -> None:
    model = tiny_bert()
    other = copy.deepcopy(model)
    shuffled_heads(layers_of(other)[0])
    torch.testing.assert_close(logits_of(other), logits_of(model), rtol=1e-4, atol=1e-4)
    align_heads(layers_of(other)[0], layers_of(model)[0], seen_by(other, 0)["heads"], seen_by(model, 0)["heads"])
    for name, tensor in state_of(other).items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-3)


def test_what_a_layer_answers_stays_whatever_it_is_aligned_with() -> None:
    model = tiny_bert()
    logits = logits_of(model)
    seen = [seen_by(model, index) for index in range(2)]
    align_heads(layers_of(model)[0], layers_of(model)[1], seen[0]["heads"], seen[1]["heads"])
    align_neurons(layers_of(model)[0], layers_of(model)[1], seen[0]["neurons"], seen[1]["neurons"])
    torch.testing.assert_close(logits_of(model), logits, rtol=1e-4, atol=1e-4)
    assert differences(state_of(model), state_of(tiny_bert()))


def test_neurons_that_are_aligned_correlate_more() -> None:
    model = tiny_bert()
    layer, like = layers_of(model)
    seen = [seen_by(model, index)["neurons"] for index in range(2)]

    def likeness() -> float:
        neurons = [seen_by(model, index)["neurons"] for index in range(2)]
        centred = [(values - values.mean(0)) / (values - values.mean(0)).norm(dim=0).clamp(min=1e-9) for values in neurons]
        return float((centred[0] * centred[1]).sum())

    before = likeness()
    align_neurons(layer, like, seen[0], seen[1])
    assert likeness() > before + 1
