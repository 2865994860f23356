"""Gradients of gates, against autograd on one example after another; exchanges, against all that are possible."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch.nn import functional

from compress.models.families import family_of
from compress.models.layout import distinct_layers
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.fisher import gate_gradients, importance, rearranged, row_information
from compress.tasks.labelled import Task
from tests.tiny_models import differences, state_of, tiny_bert, tiny_of, toy_task


def gradients_one_by_one(model: Any, task: Task) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Each example alone, unpadded, with gates of its own, hooked in here."""
    family, encoded = family_of(model), task.encode(task.train, model.tokenizer)
    rows: tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]] = ([], [])
    for index in range(len(encoded)):
        gates: list[list[torch.Tensor]] = [[], []]
        handles = []
        for layer in distinct_layers(model):
            for side, (name, size) in enumerate(((family.context, 16 // 4), (family.feed_forward[1], 1))):
                linear = layer.get_submodule(name)
                gate = torch.ones(linear.in_features // size, 1, requires_grad=True)
                gates[side].append(gate)
                handles.append(
                    linear.register_forward_pre_hook(
                        lambda _, inputs, gate=gate, size=size: inputs[0] * gate.expand(-1, size).reshape(-1)
                    )
                )
        inputs = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        loss = functional.cross_entropy(model(**inputs).logits, torch.from_numpy(encoded.labels[[index]]))
        gradients = torch.autograd.grad(loss, [*gates[0], *gates[1]], allow_unused=True, materialize_grads=True)
        rows[0].append([gradient[:, 0] for gradient in gradients[: len(gates[0])]])
        rows[1].append([gradient[:, 0] for gradient in gradients[len(gates[0]) :]])
        for handle in handles:
            handle.remove()
    heads, neurons = ([torch.stack(layer) for layer in zip(*side, strict=True)] for side in rows)
    return heads, neurons


@pytest.mark.parametrize("kind", ["bert", "distilbert", "albert"])
def test_gradients_are_those_of_each_example_alone(kind: str) -> None:
    model, task = tiny_of(kind), toy_task(train=37)
    gradients = gate_gradients(model, task.encode(task.train, model.tokenizer))
    reference = gradients_one_by_one(model, task)
    for side, expected in zip((gradients.heads, gradients.neurons), reference, strict=True):
        for own, layer in zip(side, expected, strict=True):
            torch.testing.assert_close(own, layer, rtol=1e-4, atol=1e-6)
            assert own.abs().max() > 1e-3


def test_layers_without_heads_or_neurons_have_no_gradients() -> None:
    model, task = keep_neurons(keep_heads(tiny_bert(), [[], [1, 3]]), [[2], []]), toy_task(train=5)
    gradients = gate_gradients(model, task.encode(task.train, model.tokenizer))
    assert [tuple(gradient.shape) for gradient in [*gradients.heads, *gradients.neurons]] == [(5, 0), (5, 2), (5, 1), (5, 0)]
    assert gradients.heads[1].abs().min() > 0


def test_the_model_is_left_alone_frozen_or_not() -> None:
    model, task = tiny_bert(), toy_task(train=9)
    encoded, before = task.encode(task.train, model.tokenizer), state_of(model)
    free = gate_gradients(model, encoded)
    frozen = gate_gradients(model.requires_grad_(False), encoded)
    assert not differences(before, state_of(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(free.neurons[0], frozen.neurons[0])


def test_importance_is_the_sum_of_squares() -> None:
    assert importance(torch.tensor([[1.0, -2.0], [3.0, 0.5]])).tolist() == [10.0, 4.25]


def cost(gradients: torch.Tensor, kept: tuple[int, ...] | list[int]) -> float:
    removed = [index for index in range(gradients.shape[1]) if index not in kept]
    return float(gradients[:, removed].double().sum(1).square().sum())


def test_gates_that_make_up_for_each_other_go_together() -> None:
    """By their squares 0 and 1 would go, at a cost of 4; 1 and 2 cost 0.04."""
    assert rearranged(torch.tensor([[1.0, 1.0, -1.2]]), [2]) == [0]


@pytest.mark.parametrize(("seed", "count"), [(1, 1), (2, 3), (3, 5), (4, 7), (5, 4)])
def test_no_single_exchange_is_left_that_costs_less(seed: int, count: int) -> None:
    gradients = torch.randn(6, 8, generator=torch.Generator().manual_seed(seed))
    begun = importance(gradients).argsort(descending=True)[:count].tolist()
    gates = rearranged(gradients, begun)
    assert gates == sorted(set(gates))
    assert len(gates) == count
    assert cost(gradients, gates) <= cost(gradients, begun)
    near = [kept for kept in combinations(range(8), count) if len(set(kept) & set(gates)) == count - 1]
    assert cost(gradients, gates) <= min(cost(gradients, kept) for kept in near) + 1e-6
    every = [cost(gradients, kept) for kept in combinations(range(8), count)]
    assert cost(gradients, gates) <= sorted(every)[len(every) // 4]


@pytest.mark.parametrize("kept", [[], [0, 1, 2]])
def test_none_and_all_stay_as_they_are(kept: list[int]) -> None:
    assert rearranged(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), kept) == kept


def test_equal_gates_are_not_exchanged() -> None:
    assert rearranged(torch.ones(3, 4), [1, 2]) == [1, 2]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_the_information_of_rows_is_that_of_each_example_alone(kind: str) -> None:
    model, task = tiny_of(kind), toy_task(train=37)
    family, encoded = family_of(model), task.encode(task.train, model.tokenizer)
    linears: dict[str, Any] = {name: distinct_layers(model)[0].get_submodule(name) for name in family.feed_forward}
    reference = {name: torch.zeros(linear.out_features) for name, linear in linears.items()}
    for index in range(len(encoded)):
        inputs = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        loss = functional.cross_entropy(model(**inputs).logits, torch.from_numpy(encoded.labels[[index]]))
        gradients = torch.autograd.grad(loss, [linear.weight for linear in linears.values()])
        for name, gradient in zip(linears, gradients, strict=True):
            reference[name] += gradient.square().sum(1)
    information = row_information(model, encoded, {name: [linear] for name, linear in linears.items()})
    for name, rows in reference.items():
        torch.testing.assert_close(information[name].float(), rows, rtol=1e-4, atol=1e-6)


def test_a_weight_that_two_layers_share_has_one_gradient() -> None:
    model, task = tiny_bert(), toy_task(train=5)
    first, second = (layer.get_submodule("intermediate.dense") for layer in distinct_layers(model))
    second.weight = first.weight
    encoded = task.encode(task.train, model.tokenizer)
    reference = torch.zeros(24)
    for index in range(len(encoded)):
        inputs = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        loss = functional.cross_entropy(model(**inputs).logits, torch.from_numpy(encoded.labels[[index]]))
        reference += torch.autograd.grad(loss, first.weight)[0].square().sum(1)
    information = row_information(model, encoded, {"shared": [first, second]})["shared"]
    torch.testing.assert_close(information.float(), reference, rtol=1e-4, atol=1e-6)
