"""The widths of uneven layers are read off the model and given to a new one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from compress.bert.first_token import first_token_only
from compress.bert.structure import apply_structure, read_structure
from compress.errors import InputError
from tests.models import logits_of


def cut_unevenly(model: PreTrainedModel) -> PreTrainedModel:
    """Leave layer 0 the heads 0 and 2 of four, and layer 1 the first five neurons of its feed-forward part."""
    attention, output = model.bert.encoder.layer[0].attention.self, model.bert.encoder.layer[0].attention.output
    columns = torch.tensor([0, 1, 2, 3, 8, 9, 10, 11])  # heads are four columns wide
    for projection in (attention.query, attention.key, attention.value):
        projection.weight = torch.nn.Parameter(projection.weight.detach()[columns])
        projection.bias = torch.nn.Parameter(projection.bias.detach()[columns])
        projection.out_features = 8
    output.dense.weight = torch.nn.Parameter(output.dense.weight.detach()[:, columns])
    output.dense.in_features = 8
    attention.num_attention_heads, attention.all_head_size = 2, 8
    feed = model.bert.encoder.layer[1]
    feed.intermediate.dense.weight = torch.nn.Parameter(feed.intermediate.dense.weight.detach()[:5])
    feed.intermediate.dense.bias = torch.nn.Parameter(feed.intermediate.dense.bias.detach()[:5])
    feed.intermediate.dense.out_features = 5
    feed.output.dense.weight = torch.nn.Parameter(feed.output.dense.weight.detach()[:, :5])
    feed.output.dense.in_features = 5
    return model


UNEVEN = {
    "schema": 1,
    "layers": [{"heads": 2, "head_size": 4, "intermediate": 24}, {"heads": 4, "head_size": 4, "intermediate": 5}],
}


def test_an_even_model_is_described_layer_by_layer(model: PreTrainedModel) -> None:
    layer = {"heads": 4, "head_size": 4, "intermediate": 24}
    assert read_structure(model) == {"schema": 1, "layers": [layer, layer]}


def test_uneven_layers_are_read_off_the_live_modules(model: PreTrainedModel) -> None:
    assert read_structure(cut_unevenly(model)) == UNEVEN


def test_a_new_model_with_the_structure_takes_the_uneven_weights_and_answers_alike(model: PreTrainedModel) -> None:
    uneven = cut_unevenly(copy.deepcopy(model))
    new = BertForSequenceClassification(model.config).eval()
    apply_structure(new, UNEVEN)
    new.load_state_dict(uneven.state_dict())
    assert torch.equal(logits_of(new), logits_of(uneven))
    assert not torch.allclose(logits_of(new), logits_of(model))
    with first_token_only(new):
        torch.testing.assert_close(logits_of(new), logits_of(uneven), rtol=1e-5, atol=1e-5)


def test_a_cut_head_is_a_head_whose_output_is_zeroed(model: PreTrainedModel) -> None:
    """The cut above, and so what reloading is held to, is what masking the heads of the whole model gives."""
    masked = copy.deepcopy(model)
    with torch.no_grad():
        columns = [4, 5, 6, 7, 12, 13, 14, 15]
        masked.bert.encoder.layer[0].attention.output.dense.weight[:, columns] = 0
        masked.bert.encoder.layer[1].output.dense.weight[:, 5:] = 0
    torch.testing.assert_close(logits_of(cut_unevenly(model)), logits_of(masked), rtol=1e-5, atol=1e-5)


def test_layers_that_fit_already_keep_their_weights(model: PreTrainedModel) -> None:
    expected = logits_of(model)
    apply_structure(model, read_structure(model))
    assert torch.equal(logits_of(model), expected)


def test_another_head_size_changes_the_scale_of_attention(model: PreTrainedModel) -> None:
    layer = {"heads": 2, "head_size": 9, "intermediate": 24}
    apply_structure(model, {"schema": 1, "layers": [layer, layer]})
    attention = model.bert.encoder.layer[1].attention.self
    assert attention.scaling == pytest.approx(1 / 3)
    assert attention.query.weight.shape == (18, 16)
    assert logits_of(model).shape == (4, 2)


@pytest.mark.parametrize("structure", [
    {}, [], {"schema": 2, "layers": UNEVEN["layers"]}, {"schema": 1, "layers": "two"},
    {"schema": 1, "layers": UNEVEN["layers"][:1]},
    {"schema": 1, "layers": [*UNEVEN["layers"], UNEVEN["layers"][0]]},
])  # fmt: skip
def test_a_structure_of_another_shape_is_refused(model: PreTrainedModel, structure: Any) -> None:
    with pytest.raises(InputError, match="schema 1 with 2 layers is expected"):
        apply_structure(model, structure)


@pytest.mark.parametrize("layer", [
    None, {}, {"heads": 0, "head_size": 4, "intermediate": 24}, {"heads": -1, "head_size": 4, "intermediate": 24},
    {"heads": 2.0, "head_size": 4, "intermediate": 24}, {"heads": "2", "head_size": 4, "intermediate": 24},
    {"heads": 2, "head_size": 4}, {"heads": 2, "head_size": 4, "intermediate": 1 << 40},
])  # fmt: skip
def test_widths_that_are_no_positive_numbers_are_refused_with_their_layer(model: PreTrainedModel, layer: Any) -> None:
    with pytest.raises(InputError, match=r"layer 1: .* positive whole numbers"):
        apply_structure(model, {"schema": 1, "layers": [UNEVEN["layers"][0], layer]})
