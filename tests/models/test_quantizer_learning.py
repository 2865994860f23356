"""Gradients pass the rounding, learned ranges get LSQ's, and ranges follow what is seen (of `bert/quantizers.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.models.quantizers import QuantizedLinear
from tests.models.whole_numbers import DIVISOR, FORMS, HIGH, LOW, grid, linear, numbers, whole_weight

# -- gradients


@pytest.mark.parametrize("divisor", [None, DIVISOR])
@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_gradients_are_those_of_a_plain_linear_of_rounded_values(per_channel: bool, symmetric: bool, divisor: Any) -> None:
    """Outside of the range as well; rounding and cutting count as if they were not there."""
    layer, values = linear(per_channel=per_channel, symmetric=symmetric), numbers(20, 6).requires_grad_()
    layer.divisor, divided = divisor, values.detach().numpy() / (1 if divisor is None else divisor.numpy())
    scale, zero = grid(LOW, HIGH, symmetric)
    assert (divided > HIGH * 1.1).any()
    rounded = torch.from_numpy((np.clip(np.round(divided / scale) + zero, -128, 127) - zero) * scale).float().requires_grad_()
    whole, weight_scale = whole_weight(layer, per_channel, 1 if divisor is None else divisor)
    weight = torch.from_numpy(whole * weight_scale).float().requires_grad_()
    bias = layer.bias.detach().clone().requires_grad_()
    upstream = numbers(20, 5, seed=8)
    (layer(values) * upstream).sum().backward()
    (nn.functional.linear(rounded, weight, bias) * upstream).sum().backward()
    assert rounded.grad is not None
    assert weight.grad is not None
    factor = 1 if divisor is None else divisor
    torch.testing.assert_close(values.grad, rounded.grad / factor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad, weight.grad * factor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.bias.grad, bias.grad)
    assert layer.low.grad is None


def learner(weight: list[list[float]], low: float, high: float, **form: bool) -> Any:
    """A Linear whose ranges learn, with this weight, no bias and this range."""
    plain = nn.Linear(len(weight[0]), len(weight), bias=False)
    plain.weight = nn.Parameter(torch.tensor(weight))
    made = QuantizedLinear(plain, **{"per_channel": True, "symmetric": True, **form})
    made.set_range(low, high)
    made.learn_ranges()
    return made


@pytest.mark.parametrize("stretch", [0.0, np.log(2.0)])
def test_the_range_of_an_input_learns_as_lsq_says(stretch: float) -> None:
    """With v / s = 3.2 the gradient is 3 - 3.2, with 1000 it is 127 and with -1000 it is -128 (LSQ, equation 3).

    Times s, since the scale's logarithm learns, and 1 / sqrt(3 values * 127).
    """
    layer, scale = learner([[1.0]], -12.7, 12.7), 0.1 * np.exp(stretch)
    with torch.no_grad():
        layer.stretch.fill_(stretch)
    values = (torch.tensor([[3.2], [1000.0], [-1000.0]]) * scale).float().requires_grad_()
    (layer(values) * torch.tensor([[2.0], [1.0], [0.5]])).sum().backward()
    gradient = (2.0 * -0.2 + 127 - 0.5 * 128) * scale / np.sqrt(3 * 127)
    assert layer.stretch.grad.item() == pytest.approx(gradient, rel=1e-5)
    torch.testing.assert_close(values.grad, torch.tensor([[2.0], [0.0], [0.0]]))  # nothing outside of the range


def test_the_range_of_an_asymmetric_input_learns_with_its_zero_in_place() -> None:
    """Steps of 0.02 from -50 to 205, since 0 stands at -78."""
    layer = learner([[1.0]], -1.0, 4.1, symmetric=False)
    values = (torch.tensor([[3.2], [1000.0], [-1000.0]]) * 0.02).requires_grad_()
    (layer(values) * torch.tensor([[2.0], [1.0], [0.5]])).sum().backward()
    gradient = (2.0 * -0.2 + 205 - 0.5 * 50) * 0.02 / np.sqrt(3 * 127)
    assert layer.stretch.grad.item() == pytest.approx(gradient, rel=1e-4)
    torch.testing.assert_close(values.grad, torch.tensor([[2.0], [0.0], [0.0]]))


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_range_of_a_weight_learns_as_lsq_says(per_channel: bool) -> None:
    """A ceiling of 0.5 is 127 steps: 1 lies above it (gradient 127), 0.3 is 76.2 of them (76 - 76.2)."""
    layer = learner([[1.0, 0.3], [-1.0, 0.3]], -12.7, 12.7, per_channel=per_channel)
    with torch.no_grad():
        layer.ceiling.fill_(np.log(0.5))
    values, upstream = torch.tensor([[0.5, 0.7]]), torch.tensor([[1.0, 3.0]])
    (layer(values) * upstream).sum().backward()
    rows = np.array([0.5 * 127 - 0.7 * 0.2, 3 * (0.5 * -127 - 0.7 * 0.2)]) * 0.5 / 127
    gradient = rows / np.sqrt(2 * 127) if per_channel else rows.sum() / np.sqrt(4 * 127)
    np.testing.assert_allclose(layer.ceiling.grad.flatten().numpy(), np.atleast_1d(gradient), rtol=1e-4)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.0, 0.7], [0.0, 2.1]]))


@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_the_range_of_a_weight_learns_whole_from_where_it_starts(lift: float) -> None:
    """The largest weight of a row is 127 steps and at the start it is cut by the ceiling that it set: gradient 127, not half.

    So for every row, to whichever side its logarithm was rounded. A ceiling above cuts nothing and learns of rounding alone.
    """
    largest = torch.linspace(0.013, 3.0, 200)
    layer = learner(torch.stack([largest, -0.3 * largest], 1).tolist(), -12.7, 12.7)
    with torch.no_grad():
        layer.ceiling.add_(lift)
    values = torch.tensor([[0.5, 0.7]])
    whole = layer(values).detach()
    layer(values).sum().backward()
    first = 0.0 if lift else 127.0
    gradient = (0.5 * first + 0.7 * (-38 + 38.1)) * largest[:, None] / 127 / np.sqrt(2 * 127)  # -0.3 * 127 = -38.1 steps
    torch.testing.assert_close(layer.ceiling.grad, gradient, rtol=2e-3, atol=0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.5 if lift else 0.0, 0.7]]).expand(200, 2))
    layer.ceiling = layer.stretch = None
    torch.testing.assert_close(layer(values).detach(), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_learning_starts_from_the_same_answers(per_channel: bool, symmetric: bool) -> None:
    layer, values = linear(per_channel=per_channel, symmetric=symmetric), numbers(9, 6)
    output = layer(values).detach()
    layer.learn_ranges()
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias", "stretch", "ceiling"}
    torch.testing.assert_close(layer(values).detach(), output, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("divisor", [None, DIVISOR])
@pytest.mark.parametrize("stretch", [0.3, -0.3])
@pytest.mark.parametrize(("per_channel", "symmetric"), FORMS)
def test_settled_ranges_answer_the_same_and_learn_no_more(
    per_channel: bool, symmetric: bool, stretch: float, divisor: Any
) -> None:
    layer, values = linear(per_channel=per_channel, symmetric=symmetric), numbers(9, 6)
    layer.divisor = divisor
    before = layer(values).detach()
    layer.learn_ranges()
    with torch.no_grad():
        layer.stretch.fill_(stretch)
        layer.ceiling.sub_(torch.tensor([[0.4], [0.0], [-0.4], [0.2], [0.1]]) if per_channel else 0.4)
    output = layer(values).detach()
    layer.settle_ranges()
    assert not torch.allclose(output, before, atol=1e-2)
    torch.testing.assert_close(layer(values).detach(), output, rtol=1e-5, atol=1e-5)
    assert set(layer.state_dict()) == {"weight", "bias", "low", "high"}
    if symmetric:
        assert layer.high.item() == pytest.approx(HIGH * np.exp(stretch), rel=1e-6)
    layer.settle_ranges()  # nothing is left to settle
    torch.testing.assert_close(layer(values).detach(), output, rtol=1e-5, atol=1e-5)


# -- following ranges


def test_the_first_batch_sets_the_range_and_later_ones_are_followed() -> None:
    layer = linear(symmetric=False, low=0.0, high=0.0).train()
    layer.decay = 0.75
    batches = ((-1.0, 3.0), (-3.0, 7.0), (1.0, 2.0))
    ranges = []
    for low, high in batches:
        layer(torch.tensor([[low, high, 1.5, 1.5, 1.5, 1.5]]))
        ranges.append((layer.low.item(), layer.high.item()))
    assert ranges == [(-1.0, 3.0), (-1.5, 4.0), (-0.875, 3.5)]  # a quarter of the way to each batch's ends


def test_a_symmetric_range_follows_the_largest_size() -> None:
    layer = linear(low=0.0, high=0.0).train()
    layer.decay = 0.75
    for low, high in ((-1.0, 3.0), (-7.0, 2.0)):
        layer(torch.tensor([[low, high, 0, 0, 0, 0]]))
    assert (layer.low.item(), layer.high.item()) == (-4.0, 4.0)


@pytest.mark.parametrize(
    ("training", "decay", "on", "follows"),
    [
        (True, 0.5, True, True),
        (True, 0.5, False, True),
        (True, None, True, False),
        (False, 0.5, True, False),
    ],
)
def test_ranges_are_followed_in_training_until_they_are_frozen(
    training: bool, decay: float | None, on: bool, follows: bool
) -> None:
    layer = linear(symmetric=False, low=-1.0, high=1.0).train(training)
    layer.decay, layer.on = decay, on
    layer(torch.full((2, 6), 5.0))
    assert layer.high.item() == (3.0 if follows else 1.0)
