"""Heads and neurons that zeros have cut off, and the model without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from compress.models.families import family_of_layer
from compress.models.layout import distinct_layers, head_size, projections_of
from compress.models.surgery import copy_of, keep_heads, keep_neurons


@torch.no_grad()
def without_unused(model: PreTrainedModel) -> tuple[PreTrainedModel, int, int]:
    """Copy the model without the heads and neurons that add nothing, or the same to every token.

    A head adds nothing where its columns of attention's output are all 0, and the bias of its values where its values'
    weights are all 0; a neuron likewise. What they add to every token goes into the bias of the Linear that reads them. The
    answers are the same, up to rounding.

    Returns:
        The copy, and how many heads and neurons it has lost.
    """
    student = copy_of(model)
    kept_heads, kept_neurons = [], []
    for layer in distinct_layers(student):
        family, size = family_of_layer(layer), head_size(layer)
        value = projections_of(layer)[2]
        kept_heads.append(_used([value], layer.get_submodule(family.context), size, _bias_of(value)))
        readers = [layer.get_submodule(name) for name in family.neurons]
        constant = layer.get_submodule(family.activation)(_bias_of(readers[0]))
        for gate in readers[1:]:
            constant = constant * _bias_of(gate)
        kept_neurons.append(_used(readers, layer.get_submodule(family.feed_forward[1]), 1, constant))
    before = [sum(len(used) for used in kept) for kept in (kept_heads, kept_neurons)]
    heads, neurons = ([torch.nonzero(used)[:, 0].tolist() for used in kept] for kept in (kept_heads, kept_neurons))
    lost = before[0] - sum(map(len, heads)), before[1] - sum(map(len, neurons))
    if any(lost):
        student = keep_neurons(keep_heads(student, heads), neurons)
    return student, *lost


def _bias_of(linear: Any) -> torch.Tensor:
    """A Linear's bias; zeros where it has none."""
    bias: torch.Tensor = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return bias


def _used(readers: Sequence[Any], writer: Any, size: int, constant: torch.Tensor) -> torch.Tensor:
    """Which heads or neurons, of `size` columns each, differ from token to token; what others add goes into the bias.

    Of a product of two readers' answers one that is 0 for every token will do.
    """
    if not readers[0].weight.numel():
        return torch.zeros(0, dtype=torch.bool)
    silent = torch.stack([~reader.weight.any(1).view(-1, size).any(1) for reader in readers])
    zero = torch.stack([~_bias_of(reader).view(-1, size).any(1) for reader in readers])
    is_fixed = silent.all(0) | (silent & zero)[1:].any(0)
    columns = is_fixed.repeat_interleave(size)
    if writer.bias is not None:
        writer.bias += writer.weight[:, columns] @ constant[columns]
    elif constant[columns].any():  # what is added has no place to go
        columns = columns & (constant == 0)
    writer.weight[:, columns] = 0
    return writer.weight.any(0).view(-1, size).any(1) if writer.weight.numel() else is_fixed
