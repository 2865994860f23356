"""Rates and turns by layer: what learns how fast, and when it begins to."""

from __future__ import annotations

from typing import Any

import pytest

import compress as cp
from compress.errors import InputError
from compress.models.exits import set_exits
from compress.models.layer_mix import set_mix
from compress.models.layout import behind_encoder, encoder_layers
from compress.tasks.labelled import Task
from compress.training.layer_rates import layers_that_learn, rate_shares
from compress.training.optimizer import optimizer_of
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, differences, state_of, tiny_bert, tiny_of
from tests.training.settings import settings

HOW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2}


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert"]))
def test_each_layer_below_gets_so_much_less(kind: str) -> None:
    model = tiny_of(kind)
    shares = rate_shares(model, 0.5)
    assert set(shares) == set(model.parameters())
    head = [shares[model.get_parameter(name)] for name in behind_encoder(model)]
    assert set(head) == {1.0}
    layers = encoder_layers(model)
    if len(set(layers)) == len(layers):
        assert [{shares[parameter] for parameter in layer.parameters()} for layer in layers] == [{0.25}, {0.5}]
    assert shares[model.get_input_embeddings().weight] == 0.125


def test_a_shared_layer_has_the_rate_of_the_highest_that_it_is() -> None:
    model = tiny_of("albert")
    shares = rate_shares(model, 0.5)
    assert {shares[parameter] for parameter in encoder_layers(model)[0].parameters()} == {0.5}


def test_what_reads_layers_learns_as_the_head_does() -> None:
    model = tiny_bert()
    exits, mix = set_exits(model, [0], "probability"), set_mix(model)
    shares = rate_shares(model, 0.5)
    assert {shares[parameter] for part in (exits, mix) for parameter in part.parameters()} == {1.0}


def test_the_optimizer_has_a_group_for_each_rate_and_decay() -> None:
    model = tiny_bert()
    plain = optimizer_of(model, settings(), {}, rate_shares(model, 1.0))
    assert {group["highest"] for group in plain.param_groups} == {1e-3}
    falling = optimizer_of(model, settings(), {"classifier.weight": 0.3}, rate_shares(model, 0.5))
    rates = {group["highest"] for group in falling.param_groups}
    assert sorted(rates) == pytest.approx([1.25e-4, 2.5e-4, 5e-4, 1e-3, 0.3])
    listed = [parameter for group in falling.param_groups for parameter in group["params"]]
    assert len(listed) == len(list(model.parameters()))


def test_what_stands_lower_moves_less(toy: Task, exact: None) -> None:
    model = tiny_bert()
    before = state_of(model)
    moved = {}
    for decay in (1.0, 0.1):
        tuned = cp.fine_tune(model, task=toy, layer_decay=decay, weight_decay=0.0, **HOW)
        moved[decay] = {name: float((tensor - before[name]).abs().max()) for name, tensor in state_of(tuned).items()}
    lowest, word = "bert.encoder.layer.0.output.dense.weight", "bert.embeddings.word_embeddings.weight"
    assert moved[0.1][lowest] == pytest.approx(moved[1.0][lowest] * 0.01, rel=0.5)
    assert moved[0.1][word] == pytest.approx(moved[1.0][word] * 0.001, rel=0.5)
    assert moved[0.1]["classifier.weight"] > moved[1.0]["classifier.weight"] * 0.3


def test_without_layers_no_rate_falls(toy: Task) -> None:
    static = cp.build_student(tiny_bert(), kind="static", task=toy)
    with pytest.raises(InputError, match=r"layer_decay is 0\.5, but a .* has no layers; remove it"):
        cp.fine_tune(static, task=toy, layer_decay=0.5, **HOW)
    cp.fine_tune(static, task=toy, layer_decay=1.0, **HOW)


@pytest.mark.parametrize("decay", [0.0, 1.5, -0.1])
def test_a_share_is_above_0_and_at_most_1(decay: float, toy: Task) -> None:
    with pytest.raises(InputError, match="layer_decay"):
        cp.fine_tune(tiny_bert(), task=toy, layer_decay=decay, **HOW)


def test_the_head_learns_first_and_the_embeddings_last() -> None:
    model = tiny_bert()
    watched = [
        model.get_parameter(name)
        for name in (
            "classifier.weight",
            "bert.encoder.layer.1.output.dense.weight",
            "bert.encoder.layer.0.output.dense.weight",
            "bert.embeddings.word_embeddings.weight",
        )
    ]
    learning = []
    for step in (0, 3, 4, 7, 8, 11, 12, 20):
        layers_that_learn(model, step, 12)
        learning.append(sum(parameter.requires_grad for parameter in watched))
    assert learning == [1, 1, 2, 2, 3, 3, 4, 4]


def test_what_waits_for_its_turn_stays_and_then_learns(toy: Task, exact: None) -> None:
    model = tiny_bert()
    tuned = cp.fine_tune(model, task=toy, train={"gradual": {"share": 1.0}}, **HOW)
    changed = differences(state_of(model), state_of(tuned))
    assert {"classifier.weight", "bert.encoder.layer.1.output.dense.weight"} <= set(changed)
    assert not [name for name in changed if "embeddings" in name]  # their turn would come behind the last step
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    sooner = cp.fine_tune(model, task=toy, train={"gradual": {"share": 0.5}}, **HOW)
    assert [name for name in differences(state_of(model), state_of(sooner)) if "embeddings" in name]


def test_embeddings_alone_may_stay(toy: Task, exact: None) -> None:
    model = tiny_bert()
    tuned = cp.fine_tune(model, task=toy, train="layers", **HOW)
    changed = differences(state_of(model), state_of(tuned))
    assert not [name for name in changed if "embeddings" in name]
    assert any("encoder.layer.0" in name for name in changed)


def test_a_model_without_layers_takes_no_turns(toy: Task) -> None:
    static = cp.build_student(tiny_bert(), kind="static", task=toy)
    for train, message in (("gradual", "has no layers"), ("layers", "the model's layers are none")):
        with pytest.raises(InputError, match=message):
            cp.fine_tune(static, task=toy, train=train, **HOW)
