"""Everything that holds the residual stream is found, and what is left of it is fitted to what was there."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import KNOWN
from compress.models.principal import observe
from compress.models.surgery import copy_of, keep_heads, keep_neurons
from compress.pruning.residual import Place, channel_sums, coupled_places, keep_channels, refit_stream
from tests.tiny_models import logits_of, tiny_bert, tiny_of, tokens

LAYER = {
    "bert": {
        "attention.self.query": "in",
        "attention.self.key": "in",
        "attention.self.value": "in",
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "norm",
        "intermediate.dense": "in",
        "output.dense": "out",
        "output.LayerNorm": "norm",
    },
    "distilbert": {
        "attention.q_lin": "in",
        "attention.k_lin": "in",
        "attention.v_lin": "in",
        "attention.out_lin": "out",
        "sa_layer_norm": "norm",
        "ffn.lin1": "in",
        "ffn.lin2": "out",
        "output_layer_norm": "norm",
    },
    "albert": {
        "attention.query": "in",
        "attention.key": "in",
        "attention.value": "in",
        "attention.dense": "out",
        "attention.LayerNorm": "norm",
        "ffn": "in",
        "ffn_output": "out",
        "full_layer_layer_norm": "norm",
    },
}
TABLES = {"word_embeddings": "table", "position_embeddings": "table", "LayerNorm": "norm"}
OUTSIDE = {
    "bert": {
        **{f"bert.embeddings.{name}": how for name, how in TABLES.items()},
        "bert.embeddings.token_type_embeddings": "table",
        "bert.pooler.dense": "in",
    },
    "distilbert": {**{f"distilbert.embeddings.{name}": how for name, how in TABLES.items()}, "pre_classifier": "in"},
    "albert": {"albert.encoder.embedding_hidden_mapping_in": "out", "albert.pooler": "in"},
}
LAYERS = {
    "bert": ("bert.encoder.layer.0", "bert.encoder.layer.1"),
    "distilbert": ("distilbert.transformer.layer.0", "distilbert.transformer.layer.1"),
    "albert": ("albert.encoder.albert_layer_groups.0.albert_layers.0",),
}
POOLER = {"bert": "bert.pooler.dense", "distilbert": "pre_classifier", "albert": "albert.pooler"}
DIMS = {"in": {"weight": 1}, "out": {"weight": 0, "bias": 0}, "norm": {"weight": 0, "bias": 0}, "table": {"weight": 1}}
SIZES = {"in": "in_features", "out": "out_features", "norm": "normalized_shape", "table": "embedding_dim"}


def places_of(kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """What holds the stream, and what the pooler's answer, and how, as the families' sources in transformers say."""
    stream = OUTSIDE[kind] | {f"{layer}.{name}": how for layer in LAYERS[kind] for name, how in LAYER[kind].items()}
    return stream, {POOLER[kind]: "out", "classifier": "in"}


def slices_of(kind: str) -> tuple[dict[str, int], dict[str, int]]:
    """The same by name of each tensor, with the dimension of the channels."""
    stream, pooled = (
        {f"{module}.{name}": dim for module, how in places.items() for name, dim in DIMS[how].items()}
        for places in places_of(kind)
    )
    return stream, pooled


def described(model: PreTrainedModel, places: list[Place]) -> list[tuple[str, str, dict[str, int]]]:
    names = {module: name for name, module in model.named_modules()}
    return sorted((names[place.module], place.size, dict(place.dims)) for place in places)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_graph_finds_what_holds_the_stream_and_nothing_else(kind: str) -> None:
    model = tiny_of(kind)
    for places, dims in zip(coupled_places(model), places_of(kind), strict=True):
        assert described(model, places) == sorted((name, SIZES[how], DIMS[how]) for name, how in dims.items())


@pytest.mark.parametrize("kind", LAYERS)
def test_parts_of_a_layer_that_are_gone_hold_the_stream_still(kind: str) -> None:
    """Their Linears have no rows or columns, but a width, which a saved model is checked for."""
    whole = tiny_of(kind)
    count = len(LAYERS[kind])
    cut = keep_neurons(keep_heads(whole, [[]] * count), [[]] * count)
    stream, pooled = coupled_places(cut)
    assert described(cut, stream) == described(whole, coupled_places(whole)[0])
    assert len(pooled) == 2


def test_channels_are_summed_over_every_tensor() -> None:
    linear, norm = nn.Linear(3, 2), nn.LayerNorm(2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]))
        linear.bias.copy_(torch.tensor([10.0, 20.0]))
        norm.weight.copy_(torch.tensor([5.0, 7.0]))
    vectors = {"weight": 0, "bias": 0}
    places = [Place(linear, "out_features", vectors), Place(norm, "normalized_shape", vectors)]
    sums = channel_sums(places, lambda weight: weight.detach().square())
    assert sums.tolist() == [1 + 4 + 9 + 100 + 25, 1 + 400 + 49]


def test_kept_channels_keep_their_order_in_every_tensor() -> None:
    linear, norm = nn.Linear(64, 64), nn.LayerNorm(64)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(64))
    weight, keep = linear.weight.detach().clone(), torch.tensor([3, 8, 17, 40])
    vectors = {"weight": 0, "bias": 0}
    keep_channels([Place(linear, "in_features", {"weight": 1}), Place(norm, "normalized_shape", vectors)], keep)
    assert norm.weight.tolist() == [3, 8, 17, 40]
    assert norm.normalized_shape == (4,)
    assert torch.equal(linear.weight, weight[:, [3, 8, 17, 40]])
    assert (linear.in_features, linear.out_features) == (4, 64)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_norms_and_linears_are_fitted_to_what_the_model_s_own_answer(kind: str) -> None:
    """Least squares with an offset leave no difference in the mean: of a norm's channels that stay, of all that a Linear
    answers."""
    model, keep, batches = tiny_of(kind), torch.tensor([1, 2, 3, 5, 8, 13]), [_as_read(kind, tokens())]
    student = copy_of(model)
    stream, _ = coupled_places(student)
    keep_channels(stream, keep)
    refit_stream(model, student, keep, batches)
    wanted, said = (_means(network, kind, batches) for network in (model, student))
    for name, how in places_of(kind)[0].items():
        if how == "norm":
            torch.testing.assert_close(said[name], wanted[name][keep], atol=1e-5, rtol=0)
        elif how == "in" and name != POOLER[kind]:  # which reads single tokens, and is fitted to all
            torch.testing.assert_close(said[name], wanted[name], atol=1e-5, rtol=0)


def _as_read(kind: str, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in KNOWN[kind].inputs}


def _means(model: PreTrainedModel, kind: str, batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    watched = {name: (model.get_submodule(name), False) for name, how in places_of(kind)[0].items() if how in ("norm", "in")}
    return {name: values.mean(0) for name, values in observe(model, batches, watched).items()}


def test_a_stream_that_lost_nothing_is_refitted_to_itself() -> None:
    model = tiny_bert()
    student, keep = copy_of(model), torch.arange(16)
    refit_stream(model, student, keep, [tokens(), tokens(seed=6, lengths=(24, 24, 24))])
    torch.testing.assert_close(logits_of(student), logits_of(model), atol=1e-3, rtol=0)
