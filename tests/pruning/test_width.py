"""Dimensions of the states go from the whole model, and gates of 0 answer as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import compress as cp
from compress.errors import InputError
from compress.models.first_token import first_token_only
from compress.models.states import recorded
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.width import fold_width, gated_width, keep_width, state_norms
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, toy_task

KINDS = ("bert", "distilbert")
KEPT = [0, 2, 3, 7, 8, 11, 15]


def gates_of(kept: list[int]) -> torch.Tensor:
    """Between 0.2 and 1.2 where dimensions are kept."""
    gates = torch.rand(16, generator=torch.Generator().manual_seed(2)) + 0.2
    return gates * torch.tensor([float(index in kept) for index in range(16)])


@pytest.mark.parametrize("kind", KINDS)
def test_open_gates_change_nothing(kind: str) -> None:
    model = tiny_of(kind)
    logits = logits_of(model)
    with gated_width(model, torch.ones(16)):
        torch.testing.assert_close(logits_of(model), logits, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits_of(model), logits)  # the hooks are gone


@pytest.mark.parametrize("kind", KINDS)
def test_gates_that_are_folded_and_cut_answer_as_the_gated_model_does(kind: str) -> None:
    model, gates = tiny_of(kind), gates_of(KEPT)
    before = state_of(model)
    with gated_width(model, gates):
        expected = logits_of(model)
    cut = keep_width(fold_width(model, gates), KEPT)
    torch.testing.assert_close(logits_of(cut), expected, rtol=1e-5, atol=1e-5)
    with first_token_only(cut):
        torch.testing.assert_close(logits_of(cut), expected, rtol=1e-5, atol=1e-5)
    assert (expected - logits_of(model)).abs().max() > 1e-2
    assert not differences(before, state_of(model))


def test_a_gated_norm_is_that_of_the_dimensions_that_are_left() -> None:
    model, gates = tiny_bert(), gates_of(KEPT)
    norm = state_norms(model)[1]
    values = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(1))
    with gated_width(model, gates):
        normed = norm(values)
    expected = functional.layer_norm(values[..., KEPT], (7,), norm.weight[KEPT], norm.bias[KEPT], norm.eps) * gates[KEPT]
    torch.testing.assert_close(normed[..., KEPT], expected, rtol=1e-5, atol=1e-5)
    assert normed.abs().sum(dim=(0, 1)).nonzero()[:, 0].tolist() == KEPT


def test_the_states_of_a_gated_model_are_those_of_the_cut_one() -> None:
    model, gates = tiny_bert(), gates_of(KEPT)
    wanted = [("hidden", number) for number in range(3)]
    with gated_width(model, gates), recorded(model, wanted) as states:  # type: ignore[arg-type]
        logits_of(model)
    cut = keep_width(fold_width(model, gates), KEPT)
    with recorded(cut, wanted) as cut_states:  # type: ignore[arg-type]
        logits_of(cut)
    for state, values in cut_states.items():
        torch.testing.assert_close(values, states[state][..., KEPT], rtol=1e-5, atol=1e-5)


def test_a_gate_learns_even_where_all_others_are_closed() -> None:
    model = tiny_bert()
    for kept in ([3], []):
        gates = gates_of(kept).requires_grad_()
        with gated_width(model, gates):
            batch = {"input_ids": torch.tensor([[5, 6, 7]])}
            model(**batch).logits.sum().backward()
        assert gates.grad is not None
        assert torch.isfinite(gates.grad).all()
        assert gates.grad[kept].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [KEPT, [5], list(range(16))])
def test_a_narrower_model_is_saved_and_loaded(kind: str, kept: list[int], tmp_path: Path) -> None:
    cut = keep_neurons(keep_heads(keep_width(tiny_of(kind), kept), [[0, 2], []]), [[], [1, 5]])
    again = cp.load(cp.save(cut, tmp_path / "saved"))
    assert again.config.hidden_size == len(kept)
    assert torch.equal(logits_of(again), logits_of(cut))
    assert not differences(state_of(again), state_of(cut))


def test_all_dimensions_kept_is_the_same_model() -> None:
    model = tiny_bert()
    assert not differences(state_of(keep_width(model, range(16))), state_of(model))


@pytest.mark.parametrize("empty", mostly_matrix([False, True], always=[True]))
def test_a_narrower_model_trains_and_ships(empty: bool, tmp_path: Path) -> None:
    cut: Any = keep_width(tiny_bert(hidden_size=32, initializer_range=0.1), list(range(0, 32, 2)))
    cut = keep_heads(cut, [[], [0, 3]]) if empty else cut
    trained = cp.fine_tune(cut, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-3)
    shipped = cp.export(trained, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task())
    assert all(stage.accepted for stage in shipped.stages)


@pytest.mark.parametrize("keep", [[], [0, 16], [-1, 2], [3, 3], [4, 2]])
def test_dimensions_must_be_the_model_s(keep: list[int]) -> None:
    with pytest.raises(InputError, match="must rise within 0 to 15"):
        keep_width(tiny_bert(), keep)


@pytest.mark.parametrize("kind", ["mobilebert", "albert"])
def test_families_with_another_width_inside_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=rf"the width of a {kind} cannot be cut; start from a bert or distilbert or roberta"):
        keep_width(tiny_of(kind), [0, 1])


def test_a_model_that_quantizes_is_refused() -> None:
    quantized = cp.quantize_aware(tiny_bert(), task=toy_task(), epochs=1, batch_size=20)
    with pytest.raises(InputError, match="before quantize_aware"):
        keep_width(quantized, [0, 1])
