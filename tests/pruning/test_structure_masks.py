"""Gates of an encoder's parts: what they cost, what they draw, and how they are held to a target."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.methods.prune_cofi import materialised
from compress.models.layout import distinct_layers, parameter_count
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.hard_concrete import HIGHEST, LOWEST
from compress.pruning.structure_masks import Gates, StructureMasks, encoder_parameters, layer_costs
from compress.pruning.width import keep_width
from tests.tiny_models import logits_of, tiny_bert, tiny_of, tokens, without_dropout

KINDS = ("bert", "distilbert", "mobilebert", "albert")
FAR = 60.0  # a log alpha whose gate is 0 or 1 in every draw


def masks_of(model: Any, *, width: bool = False, multiple_of: int = 1) -> StructureMasks:
    return StructureMasks(model, width=width, multiple_of=multiple_of, seed=3)


def encoder_size(model: Any) -> int:
    return sum(parameter_count(layer) for layer in distinct_layers(model))


def scatter(masks: StructureMasks) -> StructureMasks:
    """With every log alpha somewhere between -3 and 3."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in masks.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=random) * 6 - 3)
    return masks


@pytest.mark.parametrize("kind", KINDS)
def test_heads_neurons_and_the_rest_are_all_parameters(kind: str) -> None:
    model = tiny_of(kind)
    assert encoder_parameters(layer_costs(model)) == encoder_size(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_and_a_neuron_cost_what_cutting_one_saves(kind: str) -> None:
    model = tiny_of(kind)
    costs, whole = layer_costs(model), encoder_size(model)
    heads = [list(range(layer.heads)) for layer in costs]
    neurons = [list(range(layer.neurons)) for layer in costs]
    without_head = keep_heads(model, [heads[0][1:], *heads[1:]])
    without_neuron = keep_neurons(model, [neurons[0][1:], *neurons[1:]])
    assert whole - encoder_size(without_head) == costs[0].head.weights + costs[0].head.biases
    assert whole - encoder_size(without_neuron) == costs[0].neuron.weights + costs[0].neuron.biases


def test_costs_of_a_bert_by_hand() -> None:
    (first, _) = layer_costs(tiny_bert())  # 16 wide, heads of 4, 24 neurons
    assert (first.head.weights, first.head.biases) == (4 * 4 * 16, 3 * 4)
    assert (first.neuron.weights, first.neuron.biases) == (2 * 16, 1)
    assert (first.rest.weights, first.rest.biases) == (6 * 16, 0)


@pytest.mark.parametrize("width", [False, True])
def test_the_expected_sparsity_is_the_mean_over_draws(width: bool) -> None:
    """Each part of a draw is counted as there or not, in a loop over every part."""
    masks = scatter(masks_of(tiny_bert(), width=width))
    total, sparsities = encoder_size(tiny_bert()), []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(4)
        for _ in range(4000):
            gates = masks.drawn()
            dimensions = 16 if gates.width is None else int((gates.width > 0).sum())
            heads = sum(int((gate > 0).sum()) for gate in gates.heads)
            neurons = sum(int((gate > 0).sum()) for gate in gates.neurons)
            left = heads * (4 * 4 * dimensions + 12) + neurons * (2 * dimensions + 1) + 2 * 6 * dimensions
            sparsities.append(1 - left / total)
    spread = torch.tensor(sparsities)
    assert masks.expected_sparsity().item() == pytest.approx(spread.mean().item(), abs=4 * spread.std().item() / 4000**0.5)


@pytest.mark.parametrize("width", [False, True])
def test_gates_that_are_settled_for_sure_have_the_sparsity_of_the_cut_model(width: bool) -> None:
    model = tiny_bert()
    masks = masks_of(model, width=width)
    with torch.no_grad():
        for name, parameter in masks.named_parameters():
            if name != "multipliers":
                parameter.fill_(FAR)
        masks.heads[:3] = masks.neurons[5:20] = masks.attention[1] = -FAR
        if masks.width is not None:
            masks.width[3:9] = -FAR
    cut = materialised(model, masks.settled())
    expected = 1 - encoder_size(cut) / encoder_size(model)
    assert masks.expected_sparsity().item() == pytest.approx(expected, abs=1e-6)
    assert [layer.heads for layer in layer_costs(cut)] == [1, 0]
    assert [layer.neurons for layer in layer_costs(cut)] == [9, 24]
    assert cut.config.hidden_size == (10 if width else 16)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_1_are_the_model_itself(kind: str) -> None:
    model = tiny_of(kind, **({} if kind == "distilbert" else without_dropout()))
    logits, masks = logits_of(model), masks_of(model, width=kind in ("bert", "distilbert"))
    with torch.no_grad():
        for parameter in masks.parameters():
            parameter.fill_(FAR)
    with masks.applied(model):
        torch.testing.assert_close(logits_of(model), logits, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits_of(model), logits)


@pytest.mark.parametrize("multiple_of", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_model_is_the_materialised_one(kind: str, multiple_of: int) -> None:
    """In evaluation as in training with the same gates; the numbers that are left are multiples."""
    model, width = tiny_of(kind), kind in ("bert", "distilbert")
    masks = scatter(masks_of(model, width=width, multiple_of=multiple_of))
    with torch.no_grad():
        masks.feed_forward[0] = -FAR
    with masks.applied(model):
        expected = logits_of(model)
    cut = materialised(model, masks.settled())
    torch.testing.assert_close(logits_of(cut), expected, rtol=1e-5, atol=1e-5)
    costs = layer_costs(cut)
    assert costs[0].neurons == 0
    assert all(layer.neurons % multiple_of == 0 for layer in costs)
    assert encoder_size(cut) < encoder_size(model)
    assert (expected - logits_of(model)).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [False, True])
def test_as_much_is_gone_as_draws_leave_out_on_average(seed: int, width: bool) -> None:
    """Within the parameters of the two neurons that can go together, one in each layer; there are enough of them."""
    model = tiny_bert()
    masks = masks_of(model, width=width)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (masks.heads, masks.neurons, *([] if masks.width is None else [masks.width])):
            parameter.copy_(torch.randn(parameter.shape, generator=random))
        masks.attention[seed % 2] = -1.0  # of which 0.64 is open on average, but none or all of it stays
    sparsity = 1 - encoder_size(materialised(model, masks.settled())) / encoder_size(model)
    expected = masks.expected_sparsity().item()
    assert expected - 1e-6 <= sparsity <= expected + 2 * 33 / encoder_size(model)


def test_training_passes_draw_anew_and_evaluation_draws_nothing() -> None:
    model = tiny_bert(**without_dropout())
    masks = scatter(masks_of(model))
    torch.manual_seed(3)  # some draws close every gate of a head's layer
    with masks.applied(model):
        assert torch.equal(logits_of(model), logits_of(model))
        model.train()
        first, second = model(**tokens()).logits, model(**tokens()).logits
        assert not torch.allclose(first, second)
        second.sum().backward()
    assert masks.heads.grad is not None
    assert masks.attention.grad is not None
    assert masks.neurons.grad is not None
    assert masks.heads.grad.abs().sum() > 0


def test_hooks_go_when_a_pass_fails_too() -> None:
    model = tiny_bert()
    logits, masks = logits_of(model), masks_of(model, width=True)
    with masks.applied(model), pytest.raises(IndexError):
        model(input_ids=torch.tensor([[10**6]]))
    assert torch.equal(logits_of(model), logits)


def test_the_penalty_falls_by_the_gates_and_rises_by_the_multipliers() -> None:
    masks = scatter(masks_of(tiny_bert()))
    masks.target = 0.9
    gap = masks.expected_sparsity().item() - 0.9
    assert gap < 0
    with torch.no_grad():
        masks.multipliers.copy_(torch.tensor([-2.0, 3.0]))
    penalty = masks.penalty()
    assert penalty.item() == pytest.approx(-2 * gap + 3 * gap**2, rel=1e-5)
    penalty.backward()
    assert masks.multipliers.grad is not None
    assert masks.multipliers.grad.tolist() == pytest.approx([-gap, -(gap**2)], rel=1e-5)  # the opposite of the slope
    assert masks.heads.grad is not None
    assert (masks.heads.grad > 0).all()  # descent closes heads


def test_a_descent_on_the_penalty_alone_reaches_the_target() -> None:
    masks = masks_of(tiny_bert(), width=True)
    masks.target = 0.7
    optimizer = torch.optim.AdamW(masks.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(600):
        optimizer.zero_grad()
        masks.penalty().backward()
        optimizer.step()
        masks.clamp()
    assert masks.expected_sparsity().item() == pytest.approx(0.7, abs=0.03)
    assert masks.multipliers.abs().max() > 0.1


def test_log_alpha_is_held_in_its_range_and_multipliers_are_not() -> None:
    masks = masks_of(tiny_bert(), width=True)
    with torch.no_grad():
        for parameter in masks.parameters():
            parameter[0], parameter[-1] = 100.0, -100.0
    masks.clamp()
    for name, parameter in masks.named_parameters():
        limits = (100.0, -100.0) if name == "multipliers" else (HIGHEST, LOWEST)
        assert (parameter[0].item(), parameter[-1].item()) == pytest.approx(limits)


def test_layers_that_have_lost_parts_have_no_gates_for_them() -> None:
    model = keep_neurons(keep_heads(tiny_bert(), [[], [1, 2]]), [[0, 1, 2], []])
    masks = masks_of(model)
    assert masks.heads.shape == (2,)
    assert masks.neurons.shape == (3,)
    gates = masks.settled()
    assert [len(layer) for layer in gates.heads] == [0, 2]
    with masks.applied(model):
        expected = logits_of(model)
    torch.testing.assert_close(logits_of(materialised(model, gates)), expected, rtol=1e-5, atol=1e-5)


def test_width_and_heads_are_cut_together() -> None:
    model = tiny_bert()
    gates = Gates([torch.tensor([1.0, 0, 0, 1])] * 2, [torch.ones(24)] * 2, torch.tensor([1.0, 0] * 8))
    cut = materialised(model, gates)
    by_hand = keep_width(keep_heads(model, [[0, 3]] * 2), list(range(0, 16, 2)))
    assert torch.equal(logits_of(cut), logits_of(by_hand))
