"""A layer whose attention or feed-forward part is gone normalizes its input and a bias, in every family and form."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.counts import torch_macs
from compress.errors import InputError
from compress.models.empty import EmptyLinear
from compress.models.families import family_of_layer
from compress.models.first_token import first_token_only
from compress.models.layout import distinct_layers
from compress.models.structure import read_structure
from compress.models.surgery import keep_heads, keep_layers, keep_neurons
from compress.pruning.gates import gated, open_gates
from compress.training.step_context import StepContext
from tests.tiers import mostly_matrix
from tests.tiny_models import logits_of, tiny_bert, tiny_of, toy_task

KINDS = ("bert", "distilbert", "mobilebert", "albert")
LAST = {"bert": 1, "distilbert": 1, "mobilebert": 1, "albert": 0}
WIDE = {"hidden_size": 32, "intermediate_size": 64}


def emptied(model: PreTrainedModel, *, layer: int) -> PreTrainedModel:
    """Without attention and feed-forward part in one layer."""
    heads, neurons = ([list(range(len(gate))) for gate in gates] for gates in open_gates(model))
    heads[layer], neurons[layer] = [], []
    return keep_neurons(keep_heads(model, heads), neurons)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gone_answers_as_gates_of_0(kind: str) -> None:
    model = tiny_of(kind)
    heads, neurons = open_gates(model)
    heads[LAST[kind]] *= 0
    neurons[LAST[kind]] *= 0
    with gated(model, heads, neurons):
        expected = logits_of(model)
    empty = emptied(model, layer=LAST[kind])
    torch.testing.assert_close(logits_of(empty), expected, rtol=1e-5, atol=1e-5)
    with first_token_only(empty):
        torch.testing.assert_close(logits_of(empty), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits_of(copy.deepcopy(empty)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    empty = emptied(tiny_of(kind), layer=LAST[kind])
    assert {"heads": 0, "intermediate": 0}.items() <= read_structure(empty)["layers"][-1].items()
    again = cp.load(cp.save(empty, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(empty))
    layer = distinct_layers(again)[-1]
    assert isinstance(layer.get_submodule(family_of_layer(layer).context), EmptyLinear)


@pytest.mark.parametrize(
    "target", mostly_matrix(["onnxruntime-cpu", "onnxruntime-cpu-int8", "openvino-cpu-int8"], always=["onnxruntime-cpu-int8"])
)
@pytest.mark.parametrize("layer", [0, 1])
def test_it_ships(target: str, layer: int, tmp_path: Path) -> None:
    empty = emptied(tiny_bert(**WIDE, initializer_range=0.1), layer=layer)
    shipped = cp.export(empty, tmp_path / "out", target=target, task=toy_task())
    assert all(stage.accepted for stage in shipped.stages)
    if target.endswith("int8"):
        assert shipped.stages[-1].integer_ops == 7  # six of the layer that is left, and the pooler's


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["distilbert", "albert"])
def test_it_ships_in_other_families(kind: str, tmp_path: Path) -> None:
    shipped = cp.export(emptied(tiny_of(kind), layer=0), tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    assert all(stage.accepted for stage in shipped.stages)


def test_it_trains_and_the_bias_that_is_left_learns() -> None:
    empty = emptied(tiny_bert(), layer=1)
    trained = cp.fine_tune(empty, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-2, run=StepContext(device="cpu"))
    bias = empty.bert.encoder.layer[1].output.dense.bias
    assert not torch.equal(trained.bert.encoder.layer[1].output.dense.bias, bias)
    ranged = cp.quantize_aware(
        empty, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu")
    )
    assert torch.isfinite(logits_of(ranged)).all()


def test_a_layer_without_heads_is_named_where_heads_are_compared() -> None:
    teacher = tiny_bert()
    student = keep_heads(teacher, [[0, 1, 2, 3], []])
    with pytest.raises(InputError, match="layer 2 of the student has no attention heads"):
        cp.distill(student, teacher=teacher, task=toy_task(), objectives={"relations": 1.0}, run=StepContext(device="cpu"))


def test_an_empty_layer_costs_no_products() -> None:
    model = tiny_bert()
    layer = torch_macs(model, 8) - torch_macs(keep_layers(model, [1]), 8)
    assert torch_macs(emptied(model, layer=0), 8) == torch_macs(model, 8) - layer
