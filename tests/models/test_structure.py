"""The widths of uneven layers and the ranges of quantizers are read off the model and given to a new one."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from compress.errors import InputError
from compress.models.first_token import first_token_only
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.models.structure import apply_structure, read_structure, told_by_structure
from tests.tiny_models import differences, logits_of, state_of


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


@pytest.mark.parametrize(
    "structure",
    [
        {},
        [],
        {"schema": 2, "layers": UNEVEN["layers"]},
        {"schema": 1, "layers": "two"},
        {"schema": 1, "layers": UNEVEN["layers"][:1]},
        {"schema": 1, "layers": [*UNEVEN["layers"], UNEVEN["layers"][0]]},
    ],
)
def test_a_structure_of_another_shape_is_refused(model: PreTrainedModel, structure: Any) -> None:
    with pytest.raises(InputError, match=r"schema 1 with (2 )?layers is expected"):
        apply_structure(model, structure)


@pytest.mark.parametrize(
    "layer",
    [
        None,
        {},
        {"heads": 1, "head_size": 0, "intermediate": 24},
        {"heads": True, "head_size": 4, "intermediate": 24},
        {"heads": -1, "head_size": 4, "intermediate": 24},
        {"heads": 2.0, "head_size": 4, "intermediate": 24},
        {"heads": "2", "head_size": 4, "intermediate": 24},
        {"heads": 2, "head_size": 4},
        {"heads": 2, "head_size": 4, "intermediate": 1 << 40},
    ],
)
def test_widths_that_are_no_counts_are_refused_with_their_layer(model: PreTrainedModel, layer: Any) -> None:
    with pytest.raises(InputError, match=r"layer 1: .* as whole numbers"):
        apply_structure(model, {"schema": 1, "layers": [UNEVEN["layers"][0], layer]})


# -- quantizers


def quantized(model: PreTrainedModel, *, per_channel: bool = True, symmetric: bool = False) -> PreTrainedModel:
    """A copy that quantizes; Linear number i has the range from -1 - i / 8 to 2 + i / 4."""
    made = with_quantizers(model, per_channel=per_channel, symmetric=symmetric)
    for index, linear in enumerate(quantized_linears(made).values()):
        linear.set_range(-1 - index / 8, 2 + index / 4)
    return made


LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
RANGES = {
    name: [-1 - index / 8, 2 + index / 4]
    for index, name in enumerate(
        [*(f"bert.encoder.layer.{layer}.{linear}" for layer in (0, 1) for linear in LINEARS), "bert.pooler.dense"]
    )
}


@pytest.mark.parametrize("per_channel", [True, False])
def test_quantizers_are_told_with_the_range_of_every_linear(model: PreTrainedModel, per_channel: bool) -> None:
    structure = read_structure(quantized(model, per_channel=per_channel))
    assert structure["quantizers"] == {"per_channel": per_channel, "symmetric": False, "inputs": RANGES}
    assert structure["layers"] == read_structure(model)["layers"]
    assert "quantizers" not in read_structure(model)


def test_the_weights_file_leaves_out_what_the_structure_tells(model: PreTrainedModel) -> None:
    assert told_by_structure(quantized(model)) == {f"{name}.{end}" for name in RANGES for end in ("low", "high")}
    assert told_by_structure(model) == set()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_new_model_with_the_structure_quantizes_alike(model: PreTrainedModel, per_channel: bool, symmetric: bool) -> None:
    """The float weights and the structure are all that it takes; ranges come back bit for bit."""
    quantizing = quantized(cut_unevenly(copy.deepcopy(model)), per_channel=per_channel, symmetric=symmetric)
    quantizing.bert.pooler.dense.set_range(-1 / 3, 0.1)  # numbers that no short decimal tells
    structure, names = read_structure(quantizing), told_by_structure(quantizing)
    weights = {name: tensor for name, tensor in quantizing.state_dict().items() if name not in names}
    new = BertForSequenceClassification(model.config)
    apply_structure(new, json.loads(json.dumps(structure)))
    new.load_state_dict(weights, strict=False)
    assert not differences(state_of(new), state_of(quantizing))
    assert torch.equal(logits_of(new.eval()), logits_of(quantizing))
    assert read_structure(new) == structure


def test_a_model_that_has_no_quantizers_gets_none(model: PreTrainedModel) -> None:
    apply_structure(model, read_structure(model))
    assert not quantized_linears(model)


@pytest.mark.parametrize(
    "quantizers",
    [
        None,
        [],
        "yes",
        {},
        {"per_channel": True, "symmetric": True},
        {"per_channel": True, "inputs": RANGES},
        {"symmetric": True, "inputs": RANGES},
        {"per_channel": 1, "symmetric": True, "inputs": RANGES},
        {"per_channel": True, "symmetric": "false", "inputs": RANGES},
        {"per_channel": None, "symmetric": True, "inputs": RANGES},
        {"per_channel": True, "symmetric": True, "inputs": list(RANGES.items())},
        {"per_channel": True, "symmetric": True, "inputs": None},
    ],
)
def test_quantizers_without_flags_or_ranges_are_refused(model: PreTrainedModel, quantizers: Any) -> None:
    with pytest.raises(InputError, match=r"structure\.json: quantizers must give per_channel and symmetric as true or false"):
        apply_structure(model, {**read_structure(model), "quantizers": quantizers})


def with_ranges(model: PreTrainedModel, ranges: Any) -> dict[str, Any]:
    """The structure of a quantized model with other ranges."""
    return {**read_structure(model), "quantizers": {"per_channel": True, "symmetric": False, "inputs": ranges}}


@pytest.mark.parametrize(
    "interval",
    [
        [float("nan"), 1.0],
        [-1.0, float("nan")],
        [float("-inf"), 1.0],
        [-1.0, float("inf")],
        ["-1", "1"],
        [-1.0, "1"],
        [1.0, 2.0],
        [-2.0, -1.0],
        [1.0, -1.0],
        [],
        [0.0],
        [-1.0, 0.0, 1.0],
        None,
        1.0,
        {"low": -1.0, "high": 1.0},
        "-1, 1",
        [True, True],
        [False, 1.0],
        [None, 1.0],
        [[-1.0], [1.0]],
    ],
)
def test_a_range_that_is_not_two_numbers_around_0_is_refused_with_its_linear(model: PreTrainedModel, interval: Any) -> None:
    name = "bert.encoder.layer.1.attention.self.key"
    with pytest.raises(InputError, match=rf"the range of {re.escape(name)} is .*the first at most 0 and the second at least"):
        apply_structure(model, with_ranges(model, {**RANGES, name: interval}))


@pytest.mark.parametrize("interval", [[0.0, 0.0], [0, 1], [-1, 0], [-0.0, 1e-45]])
def test_ranges_that_end_at_0_are_taken(model: PreTrainedModel, interval: list[float]) -> None:
    apply_structure(model, with_ranges(model, {**RANGES, "bert.pooler.dense": interval}))
    assert [model.bert.pooler.dense.low.item(), model.bert.pooler.dense.high.item()] == pytest.approx(interval, rel=1e-6)


def test_linears_that_are_missing_or_unknown_are_refused_by_name(model: PreTrainedModel) -> None:
    without = {name: interval for name, interval in RANGES.items() if name != "bert.pooler.dense"}
    for ranges, named in (
        (without, "bert.pooler.dense"),
        ({**RANGES, "classifier": [-1, 1]}, "classifier"),
        ({**without, "bert.pooler": [-1, 1]}, r"bert\.pooler, bert\.pooler\.dense"),
        ({}, r"bert\.encoder\.layer\.0\.attention\.output\.dense, .*"),
    ):
        with pytest.raises(InputError, match=rf"quantizers\.inputs and the model's Linears differ in {named}; restore"):
            apply_structure(copy.deepcopy(model), with_ranges(model, ranges))
