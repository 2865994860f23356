"""Gates on heads open and close as drawn in training, and settle in evaluation."""

from __future__ import annotations

import math

import pytest
import torch

from compress.models.surgery import keep_heads
from compress.pruning.gates import gated
from compress.pruning.head_gates import BEGIN, HeadGates
from tests.tiny_models import logits_of, tiny_bert, without_dropout


def test_gates_begin_open() -> None:
    gates = HeadGates(keep_heads(tiny_bert(), [[0, 1, 2], []]))
    assert [len(layer) for layer in gates.by_layer(gates.log_alpha)] == [3, 0]
    assert gates.settled().tolist() == pytest.approx([1.2 / (1 + math.exp(-BEGIN)) - 0.1] * 3)
    assert 0.95 * 3 < gates.expected_open().item() < 3


def test_evaluation_answers_with_the_settled_gates_and_is_left_alone_afterwards() -> None:
    model = tiny_bert()
    gates, logits = HeadGates(model), logits_of(model)
    with torch.no_grad():
        gates.log_alpha[::2] = -8.0
    with gated(model, gates.by_layer(gates.settled())):
        expected = logits_of(model)
    with gates.applied(model):
        assert torch.equal(logits_of(model), expected)
    assert torch.equal(logits_of(model), logits)
    assert not torch.allclose(expected, logits)


def test_training_draws_anew_in_every_pass_and_gradients_reach_the_gates() -> None:
    model = tiny_bert(**without_dropout()).train()
    gates = HeadGates(model)
    with torch.no_grad():
        gates.log_alpha.zero_()
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    with gates.applied(model):
        first, second = model(**batch).logits, model(**batch).logits
    assert not torch.equal(first, second)
    first.sum().backward()
    assert gates.log_alpha.grad is not None
    assert gates.log_alpha.grad.abs().sum() > 0


def test_the_penalty_closes_gates() -> None:
    gates = HeadGates(tiny_bert())
    gates.expected_open().backward()
    assert gates.log_alpha.grad is not None
    assert (gates.log_alpha.grad > 0).all()
