"""Cut a copy of a model; the model that comes in is left alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.exits import exits_of
from compress.models.families import family_of, family_of_layer
from compress.models.layer_mix import mix_of
from compress.models.layout import (
    attention_of,
    decoder_layers,
    distinct_layers,
    encoder_layers,
    head_count,
    head_size,
    neuron_count,
)
from compress.models.traits import why_not_cut
from compress.models.traits.layers import head_table, keep_head_columns, resize

Indices = Sequence[int]


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """A model of its own, tokenizer and label included, that shares no tensor with the original."""
    return copy.deepcopy(model)


def keep_layers(
    model: PreTrainedModel, keep: Sequence[int], part: Literal["encoder", "decoder"] = "encoder"
) -> PreTrainedModel:
    """Copy the model with these layers of its encoder, or of its decoder, only, in this order.

    Raises:
        InputError: Layers are shared, and no configuration tells which of them stay; or the model mixes them.
    """
    if mix_of(model) and part == "encoder":
        raise InputError("the model mixes its layers, each with a weight of its own; drop some before fine_tune.")
    if exits_of(model) and part == "encoder":
        raise InputError("the model has exits behind some of its layers; drop layers before early_exit.")
    student = copy_of(model)
    if part == "decoder":
        return _keep_decoder_layers(student, keep)
    layers = encoder_layers(student)
    kept, family = [layers[index] for index in keep], family_of(student)
    if family.kept is not None:
        return family.kept(student, kept)
    if len(set(keep)) < len(keep):
        kept = [copy.deepcopy(layer, {id(student.config): student.config}) for layer in kept]  # one configuration for all
    for index, layer in enumerate(kept):
        if hasattr(attention_of(layer), "layer_idx"):
            attention_of(layer).layer_idx = index
    student.base_model.set_submodule(family.layers, nn.ModuleList(kept))
    student.config.num_hidden_layers = len(kept)
    return student


def _keep_decoder_layers(student: Any, keep: Sequence[int]) -> PreTrainedModel:
    kept, path = [decoder_layers(student)[index] for index in keep], family_of(student).decoder_layers
    for index, layer in enumerate(kept):
        attention_of(layer).layer_idx = layer.crossattention.self.layer_idx = index
    student.set_submodule(path, nn.ModuleList(kept))
    student.config.decoder.num_hidden_layers = len(kept)
    cut: PreTrainedModel = student
    return cut


def keep_heads(model: PreTrainedModel, keep: Sequence[Indices]) -> PreTrainedModel:
    """Copy the model with these attention heads of each distinct layer only.

    Args:
        model: Stays as it is.
        keep: For each layer with weights of its own the indices of its heads, rising. Where there is none, attention is gone:
            the layer normalizes its input and the bias of attention's output.

    Raises:
        InputError: The lists do not fit the model, or it quantizes.
    """
    student = _cut_copy(model, keep, "heads", [head_count(layer) for layer in distinct_layers(model)])
    for layer, heads in zip(distinct_layers(student), keep, strict=True):
        family, size, table = family_of_layer(layer), head_size(layer), head_table(student, layer)
        columns = (torch.tensor(heads, dtype=torch.long)[:, None] * size + torch.arange(size)).flatten()
        _keep(layer, (len(heads), neuron_count(layer)), family.projections, family.context, columns)
        keep_head_columns(layer, table, heads)
    return student


def keep_neurons(model: PreTrainedModel, keep: Sequence[Indices]) -> PreTrainedModel:
    """Copy the model with these neurons of each distinct layer's (last) feed-forward part only.

    Args:
        model: Stays as it is.
        keep: For each layer with weights of its own the indices of its neurons, rising. Where there is none, the layer
            normalizes what attention answers and the bias of the feed-forward part's output.

    Raises:
        InputError: The lists do not fit the model, or it quantizes.
    """
    student = _cut_copy(model, keep, "neurons", [neuron_count(layer) for layer in distinct_layers(model)])
    for layer, neurons in zip(distinct_layers(student), keep, strict=True):
        family = family_of_layer(layer)
        _keep(
            layer,
            (head_count(layer), len(neurons)),
            family.neurons,
            family.feed_forward[1],
            torch.tensor(neurons, dtype=torch.long),
        )
    return student


def _cut_copy(model: PreTrainedModel, keep: Sequence[Indices], what: str, counts: Sequence[int]) -> PreTrainedModel:
    why = why_not_cut(model)
    if why:
        raise InputError(f"no {what} can go: {why}")
    if len(keep) != len(counts):
        raise InputError(f"{len(keep)} lists of {what} are given, but the model has {len(counts)} layers; give one for each.")
    for index, (kept, count) in enumerate(zip(keep, counts, strict=True)):
        if any(later <= earlier for earlier, later in pairwise(kept)) or not all(0 <= unit < count for unit in kept):
            raise InputError(f"layer {index}: the {what} {list(kept)} must rise within 0 to {count - 1}; name each once.")
    return copy_of(model)


@torch.no_grad()
def _keep(layer: Any, widths: tuple[int, int], readers: Sequence[str], writer: str, columns: torch.Tensor) -> None:
    """Resize a layer to (heads, neurons) and give it back these rows of its readers and columns of the Linear behind them."""
    old: list[Any] = [layer.get_submodule(name) for name in readers]
    rows = [(linear.weight[columns], None if linear.bias is None else linear.bias[columns]) for linear in old]
    behind = layer.get_submodule(writer)
    weight, bias = behind.weight[:, columns], behind.bias
    resize(layer, widths[0], head_size(layer), widths[1])
    for name, values in [*zip(readers, rows, strict=True), (writer, (weight, bias))]:
        linear = layer.get_submodule(name)
        linear.weight.copy_(values[0])
        if values[1] is not None:
            linear.bias.copy_(values[1])
