"""What attention with so many heads and feed-forward parts with so many neurons cost, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import family_of_layer
from compress.models.layout import (
    all_layers,
    distinct_layers,
    head_count,
    head_size,
    neuron_count,
    projections_of,
    reads_first_token_only,
)


@dataclass(frozen=True)
class Costs:
    """What the parts of an encoder cost, in multiply-adds, milliseconds or anything else that adds up.

    Args:
        heads: For each distinct layer the cost of its attention with 0, 1, ... heads, (heads + 1,).
        neurons: For each distinct layer that of its (last) feed-forward part with 0, 1, ... neurons, (neurons + 1,).
        rest: Of what stays whatever is removed.
    """

    heads: Sequence[np.ndarray]
    neurons: Sequence[np.ndarray]
    rest: float = 0.0

    @property
    def parts(self) -> list[np.ndarray]:
        """The tables of all layers' attention, then those of their feed-forward parts."""
        return [*self.heads, *self.neurons]

    @property
    def whole(self) -> float:
        """What the encoder costs as it is."""
        return self.rest + float(sum(table[-1] for table in self.parts))

    @property
    def least(self) -> float:
        """What the cheapest encoder costs that removing heads and neurons leaves."""
        return self.rest + float(sum(table.min() for table in self.parts))

    def of(self, heads: Sequence[int], neurons: Sequence[int]) -> float:
        """What the encoder costs with so many heads and neurons in each distinct layer."""
        counts = zip(self.parts, [*heads, *neurons], strict=True)
        return self.rest + float(sum(table[count] for table, count in counts))


def encoder_macs(model: PreTrainedModel, length: float) -> Costs:
    """The multiply-adds of one example in the encoder, and in a decoder that writes as many tokens.

    A shared layer counts as often as it runs. Where the classifier reads one token alone, the last layer counts as exported
    files compute it (`compress.models.first_token`), which is little.

    Args:
        model: Has an encoder.
        length: Tokens of the example; a mean will do.
    """
    layers, distinct = all_layers(model), distinct_layers(model)
    cut = layers[-1] if reads_first_token_only(model) else None
    heads, neurons, rest = [], [], 0.0
    for layer in distinct:
        times, tokens = layers.count(layer), 1.0 if layer is cut else length
        family = family_of_layer(layer)
        behind = layer.get_submodule(family.feed_forward[1])
        before = [layer.get_submodule(path) for path in family.neurons]
        each = sum(linear.in_features for linear in before) + behind.out_features
        heads.append(times * (_first_token_macs(layer, length) if layer is cut else _attention_macs(layer, length)))
        neurons.append(times * tokens * each * np.arange(neuron_count(layer) + 1.0))
        counted = {*projections_of(layer), layer.get_submodule(family.context), *before, behind}
        others = [module for module in layer.modules() if isinstance(module, nn.Linear) and module not in counted]
        rest += times * tokens * sum(linear.in_features * linear.out_features for linear in others)
    return Costs(heads, neurons, rest)


def _attention_macs(layer: Any, length: float) -> np.ndarray:
    size, outputs = head_size(layer), layer.get_submodule(family_of_layer(layer).context).out_features
    projected = sum(linear.in_features for linear in projections_of(layer)) + outputs
    return np.arange(head_count(layer) + 1.0) * size * (length * projected + 2 * length**2)


def _first_token_macs(layer: Any, length: float) -> np.ndarray:
    """One token's query and answer; key and value projections on the query's side, in a row of full width for each head."""
    size, outputs = head_size(layer), layer.get_submodule(family_of_layer(layer).context).out_features
    query, key, value = (linear.in_features for linear in projections_of(layer))
    heads = np.arange(head_count(layer) + 1.0)
    width = heads * size
    return width * (query + outputs) + heads * (key + value) * (width + length) + heads * width
