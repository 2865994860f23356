"""Heads, neurons and layers are worth what a gradient, a norm or a cosine by hand says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from compress.models.layout import distinct_layers
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.gates import gated
from compress.pruning.importance import (
    head_importance,
    highest_in_multiples,
    layer_similarity,
    most_removable,
    neuron_importance,
    neuron_norms,
    without_lowest,
)
from compress.tasks.labelled import Task
from tests.tiny_models import tiny_bert


def test_a_head_is_worth_its_mean_absolute_gradient_against_its_layer() -> None:
    gradients = [torch.tensor([[3.0, -1.0], [-3.0, 7.0]]), torch.tensor([[0.0], [0.0]]), torch.zeros(2, 0)]
    first, second, third = head_importance(gradients)
    torch.testing.assert_close(first, torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert second.tolist() == [0.0]
    assert len(third) == 0


def test_a_neuron_s_norm_is_that_of_both_of_its_weights() -> None:
    model: Any = keep_neurons(tiny_bert(), [range(24), []])
    layer = model.bert.encoder.layer[0]
    norms, none = neuron_norms(model)
    reads, writes = layer.intermediate.dense.weight.detach(), layer.output.dense.weight.detach()
    products = [float(reads[neuron].norm() * writes[:, neuron].norm()) for neuron in range(24)]
    expected = torch.tensor(products, dtype=torch.float64) / (sum(products) / 24)
    torch.testing.assert_close(norms, expected, rtol=1e-5, atol=0)
    assert len(none) == 0


@pytest.mark.parametrize("how", ["taylor", "fisher"])
def test_a_neuron_is_worth_what_the_loss_of_each_example_changes_with_its_gate(toy: Task, how: Any) -> None:
    model = tiny_bert()
    encoded = toy.encode(toy.train.take(5), model.tokenizer)
    importance = neuron_importance(model, encoded, how)
    expected = torch.zeros(24, dtype=torch.float64)
    for index in range(5):
        gates = [torch.ones(24, requires_grad=True) for _ in distinct_layers(model)]
        batch = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        with gated(model, None, gates):
            loss = functional.cross_entropy(model(**batch).logits, torch.tensor([int(encoded.labels[index])]))
        (gradient,) = torch.autograd.grad(loss, [gates[0]])
        expected += gradient.double().abs() if how == "taylor" else gradient.double().square()
    torch.testing.assert_close(importance[0], expected, rtol=1e-4, atol=1e-9)


def test_a_layer_s_similarity_is_the_cosine_of_its_input_and_answer(toy: Task) -> None:
    model: Any = tiny_bert(layers=3)
    encoded = toy.encode(toy.calibration, model.tokenizer)
    similarity = layer_similarity(model, encoded)
    sums, tokens = torch.zeros(3), 0
    for index in range(len(encoded)):
        batch = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        with torch.no_grad():
            states = model.bert(**batch, output_hidden_states=True).hidden_states
        tokens += states[0].shape[1]
        for layer in range(3):
            sums[layer] += functional.cosine_similarity(states[layer][0], states[layer + 1][0], dim=-1).sum()
    assert similarity == pytest.approx((sums / tokens).tolist(), abs=1e-5)
    assert max(similarity) - min(similarity) > 1e-3


def test_the_lowest_of_all_layers_go() -> None:
    scores = [torch.tensor([0.5, 0.1, 0.9]), torch.tensor([0.2, 0.3]), torch.zeros(0)]
    assert without_lowest(scores, 0) == [[0, 1, 2], [0, 1], []]
    assert without_lowest(scores, 2) == [[0, 2], [1], []]
    assert without_lowest(scores, 3) == [[0, 2], [], []]
    assert without_lowest(scores, 3, at_least=1) == [[2], [1], []]
    assert without_lowest(scores, 5) == [[], [], []]


def test_the_highest_stay_in_multiples() -> None:
    scores = [torch.tensor([1.0, 9.0, 2.0, 8.0, 5.0]), torch.tensor([7.0, 6.0, 0.0, 0.5]), torch.zeros(0)]
    assert highest_in_multiples(scores, 0, 2) == [[], [], []]
    assert highest_in_multiples(scores, 3, 2) == [[1, 3], [], []]
    assert highest_in_multiples(scores, 4, 2) == [[1, 3], [0, 1], []]
    assert highest_in_multiples(scores, 6, 2) == [[1, 2, 3, 4], [0, 1], []]
    assert highest_in_multiples(scores, 7, 2) == [[0, 1, 2, 3, 4], [0, 1], []]
    assert highest_in_multiples(scores, 3, 1) == [[1, 3], [0], []]
    assert highest_in_multiples(scores, 9, 4) == [[0, 1, 2, 3, 4], [0, 1, 2, 3], []]


def test_what_a_layer_keeps_in_any_case_cannot_go() -> None:
    assert most_removable([4, 1, 0], 0) == 5
    assert most_removable([4, 1, 0], 2) == 2


def test_a_model_without_heads_in_a_layer_is_scored(toy: Task) -> None:
    model = keep_heads(tiny_bert(), [[], [0, 1]])
    encoded = toy.encode(toy.train.take(3), model.tokenizer)
    assert [len(layer) for layer in neuron_importance(model, encoded, "fisher")] == [24, 24]
