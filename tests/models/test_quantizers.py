"""A quantized Linear answers what whole numbers, multiplied and scaled, answer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.quantizers import (
    QuantizedEmbedding,
    QuantizedLinear,
    quantized_linears,
    quantizers_off,
    set_qmax,
    with_quantizers,
)
from tests.models.whole_numbers import DIVISOR, FORMS, HIGH, LOW, grid, integer_answers, linear, numbers, whole_weight
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tokens

# -- the grid


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (-1.0, 4.1, 0.02, -78),
        (0.0, 5.1, 0.02, -128),
        (-5.1, 0.0, 0.02, 127),
        (-2.54, 2.56, 0.02, -1),
        (-0.015, 5.085, 0.02, -127),
    ],
)
def test_an_asymmetric_grid_has_255_steps_and_0_stands_on_one(low: float, high: float, scale: float, zero: int) -> None:
    found_scale, found_zero = linear(symmetric=False, low=low, high=high).input_grid()
    assert found_scale.item() == pytest.approx(scale, rel=1e-6)
    assert found_zero.item() == zero


@pytest.mark.parametrize(("low", "high"), [(-2.54, 2.54), (-2.54, 0.0), (0.0, 2.54), (-1.0, 2.54)])
def test_a_symmetric_grid_has_127_steps_on_either_side(low: float, high: float) -> None:
    scale, zero = linear(low=low, high=high).input_grid()
    assert scale.item() == pytest.approx(0.02, rel=1e-6)
    assert zero.item() == 0


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_go_to_the_nearest_step_and_those_outside_to_the_last(symmetric: bool) -> None:
    """Steps of 0.02: symmetric from -128 to 127 of them, else from -50 (0 stands at -78) to 205."""
    layer = linear(symmetric=symmetric, low=-1.0 if not symmetric else -2.54, high=4.1 if not symmetric else 2.54)
    rounded = layer.rounded_input(torch.tensor([0.0, 0.011, 0.029, -0.031, 9.0, -9.0]))
    last = (2.54, -2.56) if symmetric else (4.1, -1.0)
    torch.testing.assert_close(rounded, torch.tensor([0.0, 0.02, 0.02, -0.04, *last]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("low", "high", "symmetric", "expected"),
    [
        (2.0, 5.0, False, (0, 5)),
        (-5.0, -2.0, False, (-5, 0)),
        (-1.0, 3.0, False, (-1, 3)),
        (0.0, 0.0, False, (0, 0)),
        (2.0, 5.0, True, (-5, 5)),
        (-5.0, -2.0, True, (-5, 5)),
        (-1.0, 3.0, True, (-3, 3)),
        (-4.0, 3.0, True, (-4, 4)),
    ],
)
def test_a_range_is_widened_to_hold_0_and_to_both_sides(low: float, high: float, symmetric: bool, expected: Any) -> None:
    layer = linear(symmetric=symmetric, low=low, high=high)
    assert (layer.low.item(), layer.high.item()) == expected
    layer.set_range(torch.tensor(low), torch.tensor(high))
    assert (layer.low.item(), layer.high.item()) == expected
    assert layer.has_range == (expected != (0, 0))


def test_a_new_one_has_no_range() -> None:
    assert not QuantizedLinear(nn.Linear(6, 5), per_channel=True, symmetric=True).has_range


# -- answers


@pytest.mark.parametrize("divisor", [None, DIVISOR])
@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_a_linear_answers_what_32_bit_integers_answer(per_channel: bool, symmetric: bool, divisor: Any) -> None:
    layer, values = linear(per_channel=per_channel, symmetric=symmetric), numbers(3, 11, 6)
    layer.divisor = divisor
    expected = integer_answers(values, layer, LOW, HIGH, per_channel, symmetric, 1 if divisor is None else divisor)
    torch.testing.assert_close(layer(values).detach(), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(layer(values), nn.functional.linear(values, layer.weight, layer.bias), atol=1e-2)


def test_a_linear_without_bias_and_one_of_zeros_answer_too() -> None:
    layer, values = linear(bias=False), numbers(4, 6)
    expected = integer_answers(values, layer, LOW, HIGH, True, True)
    torch.testing.assert_close(layer(values).detach(), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        layer.weight[2] = 0
    assert torch.equal(layer(values)[:, 2], torch.zeros(4))


@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_input_and_weight_as_the_integers_tell_them(per_channel: bool, symmetric: bool) -> None:
    layer, values = linear(per_channel=per_channel, symmetric=symmetric), numbers(9, 6)
    scale, zero = grid(LOW, HIGH, symmetric)
    expected = (np.clip(np.round(values.numpy() / scale) + zero, -128, 127) - zero) * scale
    torch.testing.assert_close(layer.rounded_input(values), torch.from_numpy(expected).float(), rtol=1e-6, atol=1e-6)
    layer.divisor = DIVISOR
    whole, weight_scale = whole_weight(layer, per_channel, DIVISOR)
    expected = torch.from_numpy(whole * weight_scale).float()
    torch.testing.assert_close(layer.rounded_weight().detach(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_every_linear_of_a_model_computes_on_integers(model: PreTrainedModel, per_channel: bool, symmetric: bool) -> None:
    quantized = with_quantizers(model, per_channel=per_channel, symmetric=symmetric)
    checked = []

    def check(layer: nn.Module, inputs: tuple[torch.Tensor, ...], answer: torch.Tensor) -> None:
        expected = integer_answers(inputs[0], layer, -1.5, 2.5, per_channel, symmetric)
        torch.testing.assert_close(answer, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)
        checked.append(layer)

    for layer in quantized_linears(quantized).values():
        layer.set_range(-1.5, 2.5)
        layer.register_forward_hook(check)
    logits_of(quantized)
    assert len(checked) == len(set(checked)) == 13  # six in each of two layers, and the pooler's


@pytest.mark.parametrize("qmax", [127, 63])
def test_in_bfloat16_the_sums_alone_are_rounded(qmax: int) -> None:
    """A product of whole numbers is rounded once, to 8 bits."""
    layer, values = linear(bias=False, symmetric=False), numbers(50, 6)
    layer.qmax = qmax
    full = layer(values)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(values)
    assert ((half - full).abs() <= full.abs() * 2**-8).all()


def test_bfloat16_holds_every_whole_number_of_the_widest_grid() -> None:
    """Where 0 stands at -128, an input is up to 255; a weight of ones shows it as it is."""
    layer = linear(symmetric=False, bias=False, low=0.0, high=5.1)
    layer.qmax = 1
    with torch.no_grad():
        layer.weight.copy_(torch.eye(5, 6))
    values = torch.arange(256).float()[:, None] * torch.ones(6) * 0.02
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(values)
    torch.testing.assert_close(rounded / 0.02, torch.arange(256).float()[:, None] * torch.ones(5), rtol=1e-5, atol=1e-5)


def test_inputs_that_come_in_bfloat16_are_divided_in_float32() -> None:
    """Their quotients need more than 8 bits to be rounded to the nearest whole number; a weight of ones shows that number."""
    layer = linear(bias=False, low=-2.3, high=2.3)
    layer.qmax = 1
    with torch.no_grad():
        layer.weight.copy_(torch.eye(5, 6))
    values = numbers(200, 6).bfloat16()
    expected = np.clip(np.round(values.float().numpy() / np.float32(2.3) * np.float32(127)), -128, 127)[:, :5]
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(values).detach()
    torch.testing.assert_close(output / layer.input_grid()[0], torch.from_numpy(expected), rtol=1e-5, atol=1e-4)


def test_fewer_bits_are_set_for_weights_and_for_tables(model: PreTrainedModel) -> None:
    quantized = with_quantizers(model, per_channel=True, symmetric=True)
    set_qmax(quantized, weights=63, tables=7)
    layer, values = quantized.bert.pooler.dense, numbers(9, 16)
    layer.set_range(-2.0, 2.0)
    expected = integer_answers(values, layer, -2.0, 2.0, True, True, qmax=63)
    torch.testing.assert_close(layer(values).detach(), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)
    table = quantized.bert.embeddings.word_embeddings
    rows = table(torch.arange(17)).detach()
    whole = rows / table.weight.detach().abs().amax(1, keepdim=True).clamp(min=1e-9) * 7
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-4)
    assert len(whole.round().unique()) == 15  # -7 to 7


# -- embeddings


def table(*rows: list[float], padding: int | None = None) -> QuantizedEmbedding:
    """An embedding with these rows."""
    return QuantizedEmbedding(nn.Embedding.from_pretrained(torch.tensor(rows), freeze=False, padding_idx=padding))


def test_rows_of_an_embedding_are_rounded_with_a_scale_each() -> None:
    embedding = table([1.27, -0.334, 0.006, 0.0], [0.0, 0.0, 0.0, 0.0], [25.4, -0.29, 0.31, -25.4])
    rows = embedding(torch.tensor([[0, 1], [2, 0]]))
    first, last = [1.27, -0.33, 0.01, 0.0], [25.4, -0.2, 0.4, -25.4]
    torch.testing.assert_close(rows, torch.tensor([[first, [0.0] * 4], [last, first]]), rtol=1e-6, atol=1e-6)


def test_fewer_steps_make_coarser_rows() -> None:
    embedding = table([0.7, 0.16, -0.14, 0.0])
    embedding.qmax = 7
    torch.testing.assert_close(embedding(torch.tensor([0])), torch.tensor([[0.7, 0.2, -0.1, 0.0]]), rtol=1e-6, atol=1e-6)


def test_the_gradient_of_an_embedding_passes_the_rounding_and_padding_gets_none() -> None:
    embedding = table([0.3, 0.1], [1.27, -0.334], [0.0, 0.0], padding=0)
    (embedding(torch.tensor([0, 1, 1, 2])) * torch.tensor([[9.0, 9.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    assert embedding.weight.grad is not None
    assert embedding.weight.grad.tolist() == [[0.0, 0.0], [4.0, 6.0], [5.0, 6.0]]


# -- whole models


def quantized_bert(model: PreTrainedModel, **form: bool) -> PreTrainedModel:
    """A copy with quantizers and ranges."""
    made = with_quantizers(model, **{"per_channel": True, "symmetric": True, **form})
    for layer in quantized_linears(made).values():
        layer.set_range(-2.0, 3.0)
    return made


def test_with_quantizers_off_a_model_answers_bit_for_bit_as_in_float(model: PreTrainedModel) -> None:
    quantized, logits = quantized_bert(model), logits_of(model)
    answer = logits_of(quantized)
    with quantizers_off(quantized):
        assert torch.equal(logits_of(quantized), logits)
    assert torch.equal(logits_of(quantized), answer)
    assert not torch.allclose(answer, logits, atol=1e-3)


def test_quantizers_come_back_after_an_error_and_what_was_off_stays_off(model: PreTrainedModel) -> None:
    quantized = quantized_bert(model)
    quantized.bert.pooler.dense.on = quantized.bert.embeddings.word_embeddings.on = False
    answer = logits_of(quantized)
    with pytest.raises(KeyError), quantizers_off(quantized), quantizers_off(quantized):
        raise KeyError
    assert torch.equal(logits_of(quantized), answer)
    assert not quantized.bert.pooler.dense.on
    assert not quantized.bert.embeddings.word_embeddings.on
    assert quantized.bert.encoder.layer[0].output.dense.on
    assert quantized.bert.embeddings.position_embeddings.on


def test_linears_and_embeddings_quantize_and_the_classifier_does_not(model: PreTrainedModel) -> None:
    quantized = with_quantizers(model, per_channel=False, symmetric=True)
    names = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
    linears = [f"bert.encoder.layer.{layer}.{name}" for layer in (0, 1) for name in names]
    assert list(quantized_linears(quantized)) == [*linears, "bert.pooler.dense"]
    assert type(quantized.classifier) is nn.Linear
    embeddings = {name for name, module in quantized.named_modules() if isinstance(module, QuantizedEmbedding)}
    kinds = ("word", "position", "token_type")
    assert embeddings == {f"bert.embeddings.{kind}_embeddings" for kind in kinds}
    assert not quantized.bert.pooler.dense.per_channel
    assert quantized.bert.pooler.dense.symmetric


def test_the_model_that_comes_in_is_left_alone(model: PreTrainedModel) -> None:
    before, said = state_of(model), logits_of(model)
    quantized = quantized_bert(model)
    shared = {tensor.data_ptr() for tensor in model.parameters()} & {tensor.data_ptr() for tensor in quantized.parameters()}
    assert not shared
    assert not quantized_linears(model)
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), said)
    kept = {name: tensor for name, tensor in state_of(quantized).items() if not name.endswith((".low", ".high"))}
    assert not differences(kept, before)


def test_a_copy_of_a_quantized_model_answers_alike_with_tensors_of_its_own(model: PreTrainedModel) -> None:
    quantized = quantized_bert(model)
    copied, answer = copy.deepcopy(quantized), logits_of(quantized)
    assert torch.equal(logits_of(copied), answer)
    copied.bert.pooler.dense.set_range(-0.1, 0.1)
    assert torch.equal(logits_of(quantized), answer)


def test_a_model_that_quantizes_already_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="quantized already; start from the model before"):
        with_quantizers(quantized_bert(model), per_channel=True, symmetric=True)


def test_a_model_without_linears_is_refused() -> None:
    class Other(nn.Linear):
        """No plain Linear."""

    model = tiny_bert()
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Other
    with pytest.raises(InputError, match="BertForSequenceClassification has no Linear to quantize; use a float target"):
        with_quantizers(model, per_channel=True, symmetric=True)


def test_padding_does_not_reach_the_answers_of_a_quantized_model(model: PreTrainedModel) -> None:
    quantized, batch = quantized_bert(model, symmetric=False), tokens(lengths=(9, 4))
    alone = {name: values[1:, :4] for name, values in batch.items()}
    torch.testing.assert_close(logits_of(quantized, **batch)[1:], logits_of(quantized, **alone), rtol=1e-4, atol=1e-4)
