"""Gates multiply what heads and neurons answer."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from compress.models.first_token import first_token_only
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.gates import fold_gates, gated, open_gates
from tests.tiny_models import differences, logits_of, state_of, tiny_of, tokens

KINDS = ("bert", "distilbert", "mobilebert", "albert")


def random_gates(model: PreTrainedModel) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gates from -1 to 2."""
    random = torch.Generator().manual_seed(4)
    heads, neurons = ([torch.rand(len(layer), generator=random) * 3 - 1 for layer in gates] for gates in open_gates(model))
    return heads, neurons


@pytest.mark.parametrize("kind", KINDS)
def test_open_gates_change_nothing(kind: str) -> None:
    model = tiny_of(kind)
    logits = logits_of(model)
    with gated(model, *open_gates(model)):
        assert torch.equal(logits_of(model), logits)


@pytest.mark.parametrize("kind", KINDS)
def test_folded_gates_answer_as_the_gated_model_does(kind: str) -> None:
    model = tiny_of(kind)
    before, logits, gates = state_of(model), logits_of(model), random_gates(model)
    with gated(model, *gates):
        expected = logits_of(model)
    assert not torch.allclose(expected, logits, atol=1e-3)
    torch.testing.assert_close(logits_of(fold_gates(model, *gates)), expected, rtol=1e-5, atol=1e-5)
    assert not differences(before, state_of(model))
    assert torch.equal(logits_of(model), logits)  # the hooks are gone


@pytest.mark.parametrize("kind", KINDS)
def test_closed_gates_are_heads_and_neurons_that_are_gone(kind: str) -> None:
    model = tiny_of(kind)
    heads, neurons = open_gates(model)
    for index in range(len(heads)):
        heads[index][index] = 0
        neurons[index][3:9] = 0
    kept = [[[number for number, gate in enumerate(layer) if gate] for layer in gates] for gates in (heads, neurons)]
    with gated(model, heads, neurons):
        expected = logits_of(model)
    cut = keep_neurons(keep_heads(model, kept[0]), kept[1])
    torch.testing.assert_close(logits_of(cut), expected, rtol=1e-5, atol=1e-5)
    assert [len(layer) for layer in open_gates(cut)[0]] == [len(layer) for layer in kept[0]]
    assert [len(layer) for layer in open_gates(cut)[1]] == [len(layer) for layer in kept[1]]


def test_the_gradient_of_a_gate_is_that_of_what_it_lets_through(model: PreTrainedModel) -> None:
    """d logit / d gate of a head at 1, by the difference quotient of the folded weights."""
    heads, neurons = open_gates(model)
    heads[0].requires_grad_(True)
    with gated(model, heads, neurons):
        model(**tokens()).logits[0, 1].backward()
    step = 1e-2
    for number in range(4):
        answers = []
        for sign in (1, -1):
            moved = [torch.ones(4), torch.ones(4)]
            moved[0][number] += sign * step
            answers.append(logits_of(fold_gates(model, moved))[0, 1])
        assert heads[0].grad is not None
        assert heads[0].grad[number].item() == pytest.approx((answers[0] - answers[1]).item() / (2 * step), rel=2e-2, abs=1e-4)


def test_each_example_can_have_gates_of_its_own(model: PreTrainedModel) -> None:
    batch = tokens()
    gates = torch.tensor([[1.0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [2, 1, 1, 0]])
    whole = torch.ones(4, 24)
    with gated(model, [gates, torch.ones(4, 4)], [whole, whole]), first_token_only(model):
        logits = logits_of(model, **batch)
    for row in range(4):
        with gated(model, [gates[row], torch.ones(4)]):
            expected = logits_of(model, **batch)[row]
        torch.testing.assert_close(logits[row], expected, rtol=1e-5, atol=1e-5)
