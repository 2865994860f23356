"""Heads and neurons that zeros have cut off, and the model without them."""

from __future__ import annotations

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
        kept_heads.append(_used(value, layer.get_submodule(family.context), size, value.bias))
        first, second = (layer.get_submodule(name) for name in family.feed_forward)
        kept_neurons.append(_used(first, second, 1, layer.get_submodule(family.activation)(first.bias)))
    before = [sum(len(used) for used in kept) for kept in (kept_heads, kept_neurons)]
    heads, neurons = ([torch.nonzero(used)[:, 0].tolist() for used in kept] for kept in (kept_heads, kept_neurons))
    lost = before[0] - sum(map(len, heads)), before[1] - sum(map(len, neurons))
    if any(lost):
        student = keep_neurons(keep_heads(student, heads), neurons)
    return student, *lost


def _used(reader: Any, writer: Any, size: int, constant: torch.Tensor) -> torch.Tensor:
    """Which heads or neurons, of `size` columns each, differ from token to token; what others add goes into the bias."""
    is_fixed = ~reader.weight.any(1).view(-1, size).any(1) if reader.weight.numel() else torch.zeros(0, dtype=torch.bool)
    columns = is_fixed.repeat_interleave(size)
    writer.bias += writer.weight[:, columns] @ constant[columns]
    writer.weight[:, columns] = 0
    return writer.weight.any(0).view(-1, size).any(1) if writer.weight.numel() else is_fixed
