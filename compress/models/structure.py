"""What config.json cannot say about a model, read off the live modules: the widths of each layer, the ranges of quantizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.long_attention import attention_structure, checked_attention, swap
from compress.models.empty import Headless, linear_of
from compress.models.factors import embedding_rank, ranks_of, set_embedding_rank, set_rank
from compress.models.families import family_of, family_of_layer
from compress.models.layout import attention_of, encoder_layers, head_count, head_size, neuron_count
from compress.models.quantizers import (
    QMAX,
    QuantizedEmbedding,
    QuantizedLinear,
    quantized_linears,
    replace_with_quantizers,
)
from compress.models.sharing import share, shared_parameters

SCHEMA = 1
LARGEST = torch.finfo(torch.float32).max
MOST_CONSTANTS = 1 << 20  # numbers that a model may always hold besides its weights


def read_structure(model: PreTrainedModel) -> dict[str, Any]:
    """Describe each encoder layer: `heads`, `head_size` and `intermediate` (width of the feed-forward part); where heads or
    intermediate is 0, that part of the layer answers its output's bias alone.

    What only some models have: `attention`, its kind and sizes where it is one for long inputs; `ranks`, by the names of
    Linears of low rank; `embedding`, the columns of a factorized word table; `shared`, the names of parameters that are
    others, by whose names; and of one that quantizes `quantizers`: `per_channel`, `symmetric`, and `inputs`, the range of each
    Linear's input.
    """
    structure: dict[str, Any] = {"schema": SCHEMA, "layers": [_layer_structure(layer) for layer in encoder_layers(model)]}
    told = {
        "attention": attention_structure(model),
        "ranks": ranks_of(model),
        "embedding": embedding_rank(model),
        "shared": shared_parameters(model),
    }
    structure |= {key: value for key, value in told.items() if value}
    linears = quantized_linears(model)
    if linears:
        first = next(iter(linears.values()))
        structure["quantizers"] = {
            "per_channel": first.per_channel,
            "symmetric": first.symmetric,
            "inputs": {name: [linear.low.item(), linear.high.item()] for name, linear in linears.items()},
        }
    return structure


def told_by_structure(model: PreTrainedModel) -> set[str]:
    """Names of the tensors of the model's state that structure.json tells, so that the weights' file leaves them out."""
    return {f"{name}.{end}" for name in quantized_linears(model) for end in ("low", "high")} | shared_parameters(model).keys()


def refuse_untold(model: PreTrainedModel) -> None:
    """Raise InputError where a model quantizes in a way that structure.json does not tell, since it would answer otherwise."""
    for name, module in model.named_modules():
        if not isinstance(module, QuantizedLinear | QuantizedEmbedding):
            continue
        told = {"qmax": module.qmax == QMAX, "on": module.on, "divisor": getattr(module, "divisor", None) is None}
        lost = [attribute for attribute, is_told in told.items() if not is_told]
        if lost:
            raise InputError(
                f"{name}.{lost[0]} is not kept in a saved model, which has no divisors and quantizes to {QMAX}; save the "
                "float model and export it, which quantizes a copy."
            )


def apply_structure(model: PreTrainedModel, structure: dict[str, Any], *, most: int | None = None) -> None:
    """Give a freshly built model the widths that `structure` tells, before its weights are loaded.

    Args:
        model: May have shapes without memory.
        structure: What `read_structure` has told.
        most: Numbers that the model's weights are; what it holds besides may be no larger. None: any size.

    Raises:
        InputError: The structure is malformed or describes another number of layers.
    """
    layers = encoder_layers(model)
    told = structure.get("layers") if isinstance(structure, dict) else None
    if not isinstance(told, list) or structure.get("schema") != SCHEMA or len(told) != len(layers):
        raise InputError(
            f"structure.json does not describe this model: schema {SCHEMA} with {len(layers)} layers is expected; "
            "save the model again with compress.save, or restore the file; without it a model may answer otherwise."
        )
    for index, (layer, shape) in enumerate(zip(layers, told, strict=True)):
        told_numbers = [shape.get(key) if isinstance(shape, dict) else None for key in ("heads", "head_size", "intermediate")]
        numbers = [number for number in told_numbers if type(number) is int and 0 <= number <= 1 << 20]
        if len(numbers) < len(told_numbers) or not numbers[1]:
            raise InputError(
                f"structure.json, layer {index}: {shape!r} must give heads, head_size and intermediate as whole numbers, "
                "head_size above 0; restore the file from where the model was saved."
            )
        if shape != _layer_structure(layer):
            resize(layer, *numbers)
    if "attention" in structure:
        attention = checked_attention(structure["attention"])
        _check_constants(model, attention, most)
        swap(model, attention)
    _apply_factors(model, structure)
    if "quantizers" in structure:
        _apply_quantizers(model, structure["quantizers"])
    if "shared" in structure:
        _apply_sharing(model, structure["shared"])


def _check_constants(model: PreTrainedModel, attention: dict[str, Any], most: int | None) -> None:
    """Refuse attention whose constants, which no weights' file holds, would be larger than the weights."""
    needed = {
        "buckets": sum(head_count(layer) * head_size(layer) for layer in encoder_layers(model))
        * attention.get("rounds", 0)
        * attention.get("buckets", 0)
        // 2,
        "max_position_embeddings": model.config.max_position_embeddings if "segment" in attention else 0,
    }
    for name, count in needed.items():
        if most is not None and count > max(MOST_CONSTANTS, most):
            raise InputError(
                f"structure.json: attention is {attention!r}, for whose {name} {count} numbers would be held, more than the "
                f"model's weights ({most}); restore config.json and structure.json from where the model was saved."
            )


def set_ranges(model: PreTrainedModel, structure: dict[str, Any]) -> None:
    """Give the quantizers of a model that had no memory when `apply_structure` made them the ranges that it told."""
    linears = quantized_linears(model)
    for name, told in structure["quantizers"]["inputs"].items() if linears else ():
        linears[name].set_range(*told)


def _apply_factors(model: PreTrainedModel, structure: dict[str, Any]) -> None:
    ranks, embedding = structure.get("ranks", {}), structure.get("embedding")
    linears = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    if not isinstance(ranks, dict) or not ranks.keys() <= linears or not all(_is_count(rank) for rank in ranks.values()):
        raise InputError(
            "structure.json: ranks must give whole numbers above 0 to names of the model's Linears; restore the file."
        )
    for name, rank in ranks.items():
        set_rank(model, name, rank)
    if embedding is not None:
        if not _is_count(embedding):
            raise InputError(f"structure.json: embedding is {embedding!r}, not a whole number above 0; restore the file.")
        family_of(model)
        set_embedding_rank(model, embedding)


def _apply_sharing(model: PreTrainedModel, told: Any) -> None:
    held = dict(model.named_parameters())
    pairs = told.items() if isinstance(told, dict) else [("shared", told)]
    wrong = [
        name
        for name, known in pairs
        if name not in held
        or not isinstance(known, str)
        or known not in held
        or known in told
        or held[name].shape != held[known].shape
    ]
    if wrong:
        raise InputError(
            f"structure.json: shared names {wrong[0]}, which is not two parameters of one shape; restore the file."
        )
    share(model, told)


def _is_count(told: Any) -> bool:
    return type(told) is int and 0 < told <= 1 << 20


def _apply_quantizers(model: PreTrainedModel, told: Any) -> None:
    told = told if isinstance(told, dict) else {}
    per_channel, symmetric, ranges = (told.get(key) for key in ("per_channel", "symmetric", "inputs"))
    if not (isinstance(per_channel, bool) and isinstance(symmetric, bool) and isinstance(ranges, dict)):
        raise InputError(
            "structure.json: quantizers must give per_channel and symmetric as true or false, and inputs; restore the file."
        )
    replace_with_quantizers(model, per_channel=per_channel, symmetric=symmetric)
    linears = quantized_linears(model)
    if ranges.keys() != linears.keys():
        apart = sorted(ranges.keys() ^ linears.keys())
        raise InputError(
            f"structure.json: quantizers.inputs and the model's Linears differ in {', '.join(apart[:3])}; restore the file."
        )
    for name, linear in linears.items():
        if not _is_range(ranges[name]):
            raise InputError(
                f"structure.json: the range of {name} is {ranges[name]!r}; two finite numbers are needed, the first at most 0 "
                "and the second at least 0: restore the file."
            )
        linear.set_range(*ranges[name])


def _is_range(told: Any) -> bool:
    numbers = isinstance(told, list) and len(told) == 2 and all(type(end) in (int, float) for end in told)
    return numbers and -LARGEST <= told[0] <= 0 <= told[1] <= LARGEST


def _layer_structure(layer: Any) -> dict[str, int]:
    return {
        "heads": head_count(layer),
        "head_size": head_size(layer),
        "intermediate": neuron_count(layer),
    }


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
    attention.scaling = size**-0.5
    if hasattr(attention, "all_head_size"):
        attention.all_head_size = heads * size
    if not heads and not isinstance(attention, Headless):
        layer.set_submodule(family.attention, Headless(attention, family.headless))
