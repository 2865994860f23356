"""Dropout that draws sixteen bits per element drops what it says, and learns through the same mask."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from compress.models.dropout import dropout_at, sixteen_bit_dropout, sixteen_bits
from tests.tiny_models import STRUCTURES, logits_of, tiny_of

COUNT = 1_000_003  # no multiple of the four elements that one random word decides on


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_the_probability_says(probability: float) -> None:
    torch.manual_seed(0)
    dropped = sixteen_bit_dropout(torch.ones(COUNT), probability)
    deviation = (probability * (1 - probability) / COUNT) ** 0.5
    assert (dropped == 0).double().mean().item() == pytest.approx(probability, abs=5 * deviation)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_kept_values_are_scaled_so_that_the_mean_stays(probability: float) -> None:
    torch.manual_seed(0)
    values = torch.linspace(1, 2, 999)
    dropped = sixteen_bit_dropout(values, probability)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], values[kept] / (1 - probability))
    assert 0 < kept.sum() < 999


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (sixteen_bit_dropout(torch.ones(400_000), 0.5) != 0).double().view(-1, 4)
    correlation = torch.corrcoef(kept.T)
    assert (correlation - torch.eye(4)).abs().max() < 0.02


def test_the_backward_pass_uses_the_mask_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    values = torch.ones(7, 5, 3, requires_grad=True)
    dropped = sixteen_bit_dropout(values, 0.3)
    dropped.backward(torch.full_like(dropped, 2.0))
    torch.testing.assert_close(values.grad, 2 * dropped.detach())  # of ones: the mask itself, times the gradient that comes in
    assert 0 < (dropped == 0).sum() < dropped.numel()


def test_a_tensor_that_is_not_contiguous_keeps_its_shape_and_places() -> None:
    torch.manual_seed(0)
    values = torch.arange(1.0, 13).view(3, 4).t()
    dropped = sixteen_bit_dropout(values, 0.5)
    kept = dropped != 0
    assert dropped.shape == (4, 3)
    torch.testing.assert_close(dropped[kept], 2 * values[kept])


def test_bfloat16_stays_bfloat16() -> None:
    dropped = sixteen_bit_dropout(torch.ones(64, dtype=torch.bfloat16), 0.5)
    assert dropped.dtype == torch.bfloat16
    assert set(dropped.tolist()) == {0.0, 2.0}


def test_probability_0_returns_the_values_themselves() -> None:
    values = torch.randn(9)
    assert sixteen_bit_dropout(values, 0.0) is values


def test_probability_1_drops_everything() -> None:
    assert torch.equal(sixteen_bit_dropout(torch.ones(9), 1.0), torch.zeros(9))


def test_evaluation_drops_nothing() -> None:
    values = torch.randn(9)
    assert sixteen_bit_dropout(values, 0.5, training=False) is values


def test_the_same_seed_draws_the_same_mask_and_another_seed_another_one() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(sixteen_bit_dropout(torch.ones(200), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_inside_the_block_torch_s_own_layers_draw_sixteen_bits_and_afterwards_no_more() -> None:
    original, layer, values = functional.dropout, torch.nn.Dropout(0.5), torch.ones(500)
    torch.manual_seed(4)
    expected = sixteen_bit_dropout(values, 0.5)
    with sixteen_bits():
        torch.manual_seed(4)
        assert torch.equal(layer(values), expected)
    torch.manual_seed(4)
    assert not torch.equal(layer(values), expected)
    assert functional.dropout is original


def test_an_exception_inside_the_block_puts_torch_s_dropout_back() -> None:
    original = functional.dropout
    with pytest.raises(KeyError), sixteen_bits():
        raise KeyError
    assert functional.dropout is original


@pytest.mark.parametrize("kind", STRUCTURES)
def test_without_dropout_a_model_that_learns_answers_as_one_that_serves(kind: str) -> None:
    model = tiny_of(kind)
    served = logits_of(model)
    with dropout_at(model.train(), 0.0):
        assert torch.equal(logits_of(model), served)


def test_every_probability_is_another_for_a_while_and_none_leaves_them() -> None:
    model = tiny_of("bert").train()
    modules = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    before = [module.p for module in modules]
    with dropout_at(model, 0.3):
        assert {module.p for module in modules} == {0.3}
    with dropout_at(model, None):
        assert [module.p for module in modules] == before
    assert [module.p for module in modules] == before
