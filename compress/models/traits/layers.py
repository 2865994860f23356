"""The widths of each layer: its heads, their size, and its neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.empty import Headless, linear_of
from compress.models.families import family_of_layer
from compress.models.families.family import HEAD_TABLE
from compress.models.layout import all_layers, attention_of, head_count, head_size, neuron_count
from compress.models.traits.trait import Trait


def _read(model: PreTrainedModel) -> list[dict[str, int]]:
    """`heads`, `head_size` and `intermediate` (width of the feed-forward part) of each layer, a decoder's behind the
    encoder's; where heads or intermediate is 0, that part of the layer answers its output's bias alone."""
    return [_layer_structure(layer) for layer in all_layers(model)]


def _apply(model: PreTrainedModel, shapes: Any, _: int | None) -> None:
    layers = all_layers(model)
    if not isinstance(shapes, list) or len(shapes) != len(layers):
        raise InputError(
            f"structure.json does not describe this model: schema 1 with {len(layers)} layers is expected; save the model "
            "again with compress.save, or restore the file; without it a model may answer otherwise."
        )
    for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
        told_numbers = [shape.get(key) if isinstance(shape, dict) else None for key in ("heads", "head_size", "intermediate")]
        numbers = [number for number in told_numbers if type(number) is int and 0 <= number <= 1 << 20]
        if len(numbers) < len(told_numbers) or not numbers[1]:
            raise InputError(
                f"structure.json, layer {index}: {shape!r} must give heads, head_size and intermediate as whole numbers, "
                "head_size above 0; restore the file from where the model was saved."
            )
        if family_of_layer(layer).positions == "rotary" and numbers[1] != head_size(layer):
            raise InputError(
                f"structure.json, layer {index}: head_size is {numbers[1]}, but heads that rotary positions turn stay "
                f"{head_size(layer)} wide; restore the file from where the model was saved."
            )
        if shape != _layer_structure(layer):
            table = head_table(model, layer)
            resize(layer, *numbers)
            keep_head_columns(layer, table, range(min(numbers[0], table.embedding_dim if table else 0)))


def _layer_structure(layer: Any) -> dict[str, int]:
    return {
        "heads": head_count(layer),
        "head_size": head_size(layer),
        "intermediate": neuron_count(layer),
    }


def head_table(model: PreTrainedModel, layer: Any) -> nn.Embedding | None:
    """The table of relative positions that a layer reads, with a column for each of its heads: its own, or that of all."""
    family, own = family_of_layer(layer), getattr(attention_of(layer), HEAD_TABLE, None)
    if own is not None or family.head_table is None:
        return own
    shared: nn.Embedding = model.base_model.get_submodule(family.head_table)
    return shared


@torch.no_grad()
def keep_head_columns(layer: Any, table: nn.Embedding | None, heads: Sequence[int]) -> None:
    """Let a layer that lost heads have a table of relative positions of its own, in place; none without heads.

    Args:
        layer: Has these heads alone already.
        table: What it read before, see `head_table`; None where there is none.
        heads: Which of the table's columns stay.
    """
    if table is None or len(heads) == table.embedding_dim:
        return
    attention = attention_of(layer)
    if hasattr(attention, HEAD_TABLE):
        delattr(attention, HEAD_TABLE)
    if heads:
        own = nn.Embedding(table.num_embeddings, len(heads), device="meta")
        own.weight = nn.Parameter(table.weight[:, list(heads)].clone())
        setattr(attention, HEAD_TABLE, own)


def resize(layer: Any, heads: int, size: int, intermediate: int) -> None:
    """Give a layer, in place, other widths; the Linears that they change are new ones, of random weights.

    Args:
        layer: Of a family's encoder.
        heads: How many; 0 for no attention.
        size: Width of each.
        intermediate: Width of the (last) feed-forward part; 0 for none.
    """
    family, attention = family_of_layer(layer), attention_of(layer)
    widths: list[tuple[str, int | None, int | None]]
    widths = [(name, None, heads * size) for name in family.projections]
    widths += [(name, None, intermediate) for name in family.neurons]
    widths += [(family.context, heads * size, None), (family.feed_forward[1], intermediate, None)]
    for name, inputs, outputs in widths:
        old = layer.get_submodule(name)
        wanted = (old.in_features if inputs is None else inputs, old.out_features if outputs is None else outputs)
        if wanted != (old.in_features, old.out_features):
            with torch.device(old.weight.device):
                layer.set_submodule(name, linear_of(*wanted, bias=old.bias is not None))
    if family.heads is not None:
        setattr(attention, family.heads, heads)
    setattr(attention, family.head_size, size)
    attention.scaling = (size * family.summands) ** -0.5
    if hasattr(attention, "all_head_size"):
        attention.all_head_size = heads * size
    if not heads and not isinstance(attention, Headless):
        layer.set_submodule(family.attention, Headless(attention, family.headless))


TRAIT = Trait(key="layers", read=_read, apply=_apply)
