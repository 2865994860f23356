"""States are read off the live modules, and are what transformers itself tells."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import PreTrainedModel

from compress.models.first_token import first_token_only
from compress.models.states import head_products, recorded, whole_last_layer
from tests.tiny_models import logits_of, tiny_bert, tokens


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_hidden_states_are_those_that_transformers_returns(model: PreTrainedModel, kernel: str) -> None:
    model.set_attn_implementation(kernel)
    batch = tokens()
    with torch.no_grad(), recorded(model, [("hidden", layer) for layer in range(3)] + [("first", 2)]) as states:
        hidden = model(**batch, output_hidden_states=True).hidden_states
    assert all(torch.equal(states["hidden", layer], hidden[layer]) for layer in range(3))
    assert torch.equal(states["first", 2], hidden[2][:, :1])


def test_scores_become_the_attention_that_transformers_returns(model: PreTrainedModel) -> None:
    model.set_attn_implementation("eager")
    batch = tokens()
    with torch.no_grad(), recorded(model, [("scores", 1), ("scores", 2)]) as states:
        attentions = model(**batch, output_attentions=True).attentions
    hidden = batch["attention_mask"][:, None, None] == 0
    for layer in (1, 2):
        attention = states["scores", layer].masked_fill(hidden, -math.inf).softmax(-1)
        torch.testing.assert_close(attention, attentions[layer - 1])


def test_projections_are_recorded_by_name(model: PreTrainedModel) -> None:
    with torch.no_grad(), recorded(model, [("query", 2), ("key", 1), ("value", 2), ("hidden", 1)]) as states:
        model(**tokens())
    attention = model.bert.encoder.layer[1].attention.self
    torch.testing.assert_close(states["query", 2], attention.query(states["hidden", 1]))
    torch.testing.assert_close(states["value", 2], attention.value(states["hidden", 1]))
    assert set(states) == {("query", 2), ("key", 1), ("value", 2), ("hidden", 1)}


def test_a_layer_that_stands_twice_is_told_apart_by_its_turn() -> None:
    model = tiny_bert(layers=2)
    model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
    with torch.no_grad():
        for _ in range(2):  # a second pass begins to count anew
            with recorded(model, [("hidden", 0), ("hidden", 1), ("hidden", 2), ("query", 2)]) as states:
                for _ in range(2):
                    hidden = model(**tokens(), output_hidden_states=True).hidden_states
                assert all(torch.equal(states["hidden", layer], hidden[layer]) for layer in range(3))
                query = model.bert.encoder.layer[0].attention.self.query
                assert torch.equal(states["query", 2], query(hidden[1]))


def test_nothing_stays_behind(model: PreTrainedModel) -> None:
    before = logits_of(model)
    with recorded(model, [("hidden", 0), ("scores", 2), ("value", 1)]):
        pass
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert not any(hooks)
    assert torch.equal(before, logits_of(model))


def test_lower_layers_are_recorded_where_the_last_is_cut_to_its_first_token(model: PreTrainedModel) -> None:
    wanted = [("hidden", 1), ("first", 1)]
    with torch.no_grad():
        with recorded(model, wanted) as whole:
            model(**tokens())
        with recorded(model, wanted) as cut, first_token_only(model):
            model(**tokens())
    assert all(torch.equal(whole[state], cut[state]) for state in whole)
    assert not whole_last_layer(wanted, 2)
    assert whole_last_layer([("hidden", 2)], 2)


def test_products_are_taken_within_each_slice_by_hand() -> None:
    """Rows (1, 2 | 3, 4) and (5, 6 | 7, 8): products of slices over the root of 2."""
    rows = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]])
    expected = torch.tensor([[[[5.0, 17.0], [17.0, 61.0]], [[25.0, 53.0], [53.0, 113.0]]]]) / math.sqrt(2)
    torch.testing.assert_close(head_products(rows, rows, 2), expected)
