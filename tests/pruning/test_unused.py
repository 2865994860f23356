"""What zeros have cut off is removed, and the answers stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.models.families import family_of
from compress.models.layout import attention_of, distinct_layers, head_count, neuron_count, projections_of
from compress.pruning.unused import without_unused
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of

BATCH = {"input_ids": torch.arange(5, 17).view(2, 6), "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2])}


@torch.no_grad()
def zeroed(model: Any, index: int, heads: tuple[int, ...], neurons: tuple[int, ...], *, where: str) -> None:
    """Zero what a layer reads of heads and neurons, or their own weights with the biases left."""
    layer, family = distinct_layers(model)[index], family_of(model)
    size = attention_of(layer).attention_head_size
    columns = [size * head + offset for head in heads for offset in range(size)]
    if where == "writer":
        layer.get_submodule(family.context).weight[:, columns] = 0
        layer.get_submodule(family.feed_forward[1]).weight[:, list(neurons)] = 0
    else:
        projections_of(layer)[2].weight[columns] = 0
        layer.get_submodule(family.feed_forward[0]).weight[list(neurons)] = 0


@pytest.mark.parametrize("where", ["writer", "reader"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "albert", "mobilebert"])
def test_unused_heads_and_neurons_go_and_the_answers_stay(kind: str, where: str) -> None:
    model = tiny_of(kind)
    zeroed(model, 0, (1,), (0, 7), where=where)
    before, depth = state_of(model), len(distinct_layers(model))
    pruned, heads, neurons = without_unused(model)
    assert (heads, neurons) == (1, 2)
    whole = head_count(distinct_layers(model)[0])
    assert [head_count(layer) for layer in distinct_layers(pruned)] == [whole - 1, *[whole] * (depth - 1)]
    assert [neuron_count(layer) for layer in distinct_layers(pruned)] == [22, *[24] * (depth - 1)]
    torch.testing.assert_close(logits_of(pruned, **BATCH), logits_of(model, **BATCH), rtol=1e-4, atol=1e-5)
    assert not differences(before, state_of(model))


def test_a_layer_may_lose_everything() -> None:
    model = tiny_bert()
    zeroed(model, 1, (0, 1, 2, 3), tuple(range(24)), where="reader")
    pruned, heads, neurons = without_unused(model)
    assert (heads, neurons) == (4, 24)
    assert [head_count(layer) for layer in distinct_layers(pruned)] == [4, 0]
    torch.testing.assert_close(logits_of(pruned, **BATCH), logits_of(model, **BATCH), rtol=1e-4, atol=1e-5)
    assert without_unused(pruned)[1:] == (0, 0)


def test_a_model_whose_parts_are_all_used_is_copied_as_it_is() -> None:
    model = tiny_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[1:, 3] = 0  # one weight of the column is left
    copied, heads, neurons = without_unused(model)
    assert (heads, neurons) == (0, 0)
    assert copied is not model
    assert not differences(state_of(copied), state_of(model))
