"""Multiply-adds of heads and neurons, against what torch counts while the model runs."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from compress.models.attention.kernel import attention_kernel
from compress.models.costs import Costs, encoder_macs
from compress.models.first_token import first_token_only
from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.models.surgery import keep_heads, keep_neurons
from tests.tiny_models import logits_of, tiny_bert, tiny_of, tokens


def counted(model: PreTrainedModel, length: int) -> float:
    """Multiply-adds inside the encoder, as exported files compute it: half the operations that torch counts there."""
    batch = tokens(lengths=(length,))
    if model.config.model_type == "distilbert":
        batch.pop("token_type_ids")
    with attention_kernel(model, "eager"), first_token_only(model), FlopCounterMode(display=False) as counter:
        logits_of(model, **batch)
    part = "transformer" if model.config.model_type == "distilbert" else "encoder"
    inside = counter.get_flop_counts()[f"{type(model).__name__}.{model.base_model_prefix}.{part}"]
    own = sum(inside.values()) / 2
    if model.config.model_type == "albert":  # its encoder also widens the embeddings
        own -= length * model.config.embedding_size * model.config.hidden_size
    return own


@pytest.mark.parametrize("length", [1, 7, 24])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "albert", "mobilebert"])
def test_the_whole_encoder_costs_what_torch_counts(kind: str, length: int) -> None:
    model = tiny_of(kind)
    assert encoder_macs(model, length).whole == counted(model, length)


@pytest.mark.parametrize(
    ("heads", "neurons"),
    [
        ([[0, 2], [1, 2, 3]], [[0, 5], list(range(20))]),
        ([[1], []], [[], [3]]),
        ([[], []], [[], []]),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_the_table_tells_what_a_pruned_encoder_costs(kind: str, heads: list[list[int]], neurons: list[list[int]]) -> None:
    model = tiny_of(kind)
    costs, pruned = encoder_macs(model, 9), keep_neurons(keep_heads(model, heads), neurons)
    expected = counted(pruned.requires_grad_(False), 9) if any(map(len, heads + neurons)) else 0
    assert costs.of([len(indices) for indices in heads], [len(indices) for indices in neurons]) == expected
    assert encoder_macs(pruned, 9).whole == expected


def test_what_a_mobilebert_cannot_lose_is_the_rest() -> None:
    model = tiny_of("mobilebert")
    costs = encoder_macs(model, 5)
    assert costs.least == costs.rest > 0
    assert encoder_macs(tiny_bert(), 5).rest == 0


def test_a_shared_layer_costs_as_often_as_it_runs() -> None:
    once, thrice = (encoder_macs(tiny_of("albert", layers=layers), 6) for layers in (1, 3))
    for part, again in zip(once.parts, thrice.parts, strict=True):
        np.testing.assert_allclose(again, 3 * part)


def test_tables_have_an_entry_for_each_number_from_none_to_all() -> None:
    model = tiny_bert()
    costs = encoder_macs(model, 5)
    assert [len(table) for table in costs.heads] == [head_count(layer) + 1 for layer in distinct_layers(model)]
    assert [len(table) for table in costs.neurons] == [neuron_count(layer) + 1 for layer in distinct_layers(model)]
    assert all(table[0] == 0 for table in costs.parts)


def test_any_table_adds_up() -> None:
    costs = Costs([np.array([1.0, 4.0])], [np.array([2.0, 2.5, 7.0])], rest=10.0)
    assert costs.whole == 21
    assert costs.least == 13
    assert costs.of([0], [1]) == 13.5
