"""What config.json cannot say about a model: the widths of each layer, read off the live modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.bert.layout import attention_of, encoder_layers
from compress.errors import InputError

SCHEMA = 1


def read_structure(model: PreTrainedModel) -> dict[str, Any]:
    """Describe each encoder layer: `heads`, `head_size` and `intermediate` (width of the feed-forward part)."""
    return {"schema": SCHEMA, "layers": [_layer_structure(layer) for layer in encoder_layers(model)]}


def apply_structure(model: PreTrainedModel, structure: dict[str, Any]) -> None:
    """Give a freshly built model the widths that `structure` tells, before its weights are loaded.

    Raises:
        InputError: The structure is malformed or describes another number of layers.
    """
    layers = encoder_layers(model)
    told = structure.get("layers") if isinstance(structure, dict) else None
    if not isinstance(told, list) or structure.get("schema") != SCHEMA or len(told) != len(layers):
        raise InputError(
            f"structure.json does not describe this model: schema {SCHEMA} with {len(layers)} layers is expected; "
            "save the model again with compress.save, or remove the file if the layers are all alike."
        )
    for index, (layer, shape) in enumerate(zip(layers, told, strict=True)):
        told_numbers = [shape.get(key) if isinstance(shape, dict) else None for key in ("heads", "head_size", "intermediate")]
        numbers = [number for number in told_numbers if isinstance(number, int) and 0 < number <= 1 << 20]
        if len(numbers) < len(told_numbers):
            raise InputError(
                f"structure.json, layer {index}: {shape!r} must give heads, head_size and intermediate as positive "
                "whole numbers; restore the file from where the model was saved."
            )
        if shape != _layer_structure(layer):
            _resize(layer, *numbers)


def _layer_structure(layer: Any) -> dict[str, int]:
    attention = attention_of(layer)
    return {
        "heads": attention.num_attention_heads,
        "head_size": attention.attention_head_size,
        "intermediate": layer.intermediate.dense.out_features,
    }


def _resize(layer: Any, heads: int, head_size: int, intermediate: int) -> None:
    attention, width = attention_of(layer), layer.output.dense.out_features
    with torch.device("meta") if layer.output.dense.weight.is_meta else torch.device("cpu"):
        for name in ("query", "key", "value"):
            setattr(attention, name, nn.Linear(width, heads * head_size))
        layer.attention.output.dense = nn.Linear(heads * head_size, width)
        layer.intermediate.dense = nn.Linear(width, intermediate)
        layer.output.dense = nn.Linear(intermediate, width)
    attention.num_attention_heads, attention.attention_head_size = heads, head_size
    attention.all_head_size, attention.scaling = heads * head_size, head_size**-0.5
