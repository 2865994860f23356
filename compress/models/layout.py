"""Where a model keeps its layers, and what is in them."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

from compress.models.factors import reader_of
from compress.models.families import family_of_layer, known_family
from compress.models.families.family import DECODER, Family
from compress.models.head import WRITER

Parts = Literal["all", "attention", "feed_forward"]
"""Of a layer."""


def encoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The encoder's layers as they are executed, from the embeddings up; a layer that is shared stands several times, and a
    model without an encoder has none.

    Raises:
        InputError: The model is of a family that the toolkit does not know.
    """
    family = known_family(model)
    if not isinstance(family, Family):
        return []
    layers: Any = model.base_model.get_submodule(family.layers)
    return family.executed(model.config, layers)


def behind_encoder(model: PreTrainedModel) -> list[str]:
    """Names of the weights of a model's head, the pooler's included."""
    family = known_family(model)
    base = f"{model.base_model_prefix}."

    def is_behind(name: str) -> bool:
        return name.startswith(family.head) or (isinstance(family, Family) and not name.startswith(base))

    return [name for name, _ in model.named_parameters() if is_behind(name)]


def decoder_layers(model: Any) -> list[Any]:
    """The decoder's layers from the embeddings up; none where the model does not write."""
    family = known_family(model)
    path = family.decoder_layers if isinstance(family, Family) else None
    return list(model.get_submodule(path)) if path is not None and isinstance(model, family.classes[WRITER]) else []


def reading_what_is_written(model: Any) -> set[nn.Module]:
    """The modules of a decoder whose inputs belong to the tokens that are written: all but those that read what the encoder
    answers; none where the model does not write."""
    layers = decoder_layers(model)
    if not layers:
        return set()
    crossing = {part for layer in layers for part in (layer.crossattention.self.key, layer.crossattention.self.value)}
    return {*model.get_submodule(DECODER).modules()} - {module for part in crossing for module in part.modules()}


def all_layers(model: PreTrainedModel) -> list[Any]:
    """The encoder's layers as they are executed, then the decoder's."""
    return [*encoder_layers(model), *decoder_layers(model)]


def distinct_layers(model: PreTrainedModel) -> list[Any]:
    """The encoder's layers and the decoder's, each that is shared once, in the order in which they are first executed."""
    return list(dict.fromkeys(all_layers(model)))


def attention_of(layer: Any) -> Any:
    """The module with the layer's query, key and value projections."""
    return layer.get_submodule(family_of_layer(layer).attention)


def projections_of(layer: Any) -> tuple[Any, Any, Any]:
    """The layer's query, key and value projections."""
    query, key, value = (layer.get_submodule(name) for name in family_of_layer(layer).projections)
    return query, key, value


def head_count(layer: Any) -> int:
    """How many attention heads the layer has."""
    wide: int = projections_of(layer)[0].out_features
    return wide // head_size(layer)


def head_size(layer: Any) -> int:
    """The width of each of the layer's attention heads."""
    size: int = getattr(attention_of(layer), family_of_layer(layer).head_size)
    return size


def neuron_count(layer: Any) -> int:
    """How many neurons the layer's (last) feed-forward part has."""
    neurons: int = layer.get_submodule(family_of_layer(layer).feed_forward[0]).out_features
    return neurons


def layer_parts(family: Family, parts: Parts = "all") -> tuple[str, ...]:
    """The paths of everything with weights in these parts of a layer without bottlenecks, in an order that all families
    share."""
    attention = (*family.projections, family.context, family.attention_norm)
    feed_forward = (*family.neurons, family.feed_forward[1], family.output_norm)
    return {"all": attention + feed_forward, "attention": attention, "feed_forward": feed_forward}[parts]


def linear_paths(family: Family, parts: Parts = "all") -> tuple[str, ...]:
    """The paths of the Linears in these parts of a layer, its bottlenecks' left out."""
    return tuple(path for path in layer_parts(family, parts) if path not in (family.attention_norm, family.output_norm))


def same_input(model: PreTrainedModel) -> list[list[str]]:
    """Names of the Linears behind a LayerNorm, those together that read the same: query, key and value, and the first of the
    feed-forward part; a layer that is shared is named once, and parts without heads or neurons are left out."""
    names = {module: name for name, module in model.named_modules()}
    return [
        [names[reader_of(linear)] for path in paths for linear in _with_global(layer, path)]
        for layer in distinct_layers(model)
        for paths in family_of_layer(layer).read_alike
        if layer.get_submodule(paths[0]).out_features
    ]


def _with_global(layer: Any, path: str) -> list[Any]:
    """A Linear, and behind it the one that stands for it where the first tokens see all (`attention.long_attention`)."""
    projections = family_of_layer(layer).projections
    own = getattr(attention_of(layer), "global_projections", None) if path in projections else None
    return [layer.get_submodule(path), *([own[projections.index(path)]] if own else [])]


def reads_first_token_only(model: PreTrainedModel) -> bool:
    """Whether the head looks at the first token of the last layer and at nothing else, and the last layer can do without the
    others."""
    family = known_family(model)
    pooler = family.pooler if isinstance(family, Family) else None
    return (
        isinstance(family, Family)
        and family.after_attention is not None
        and type(model) is family.classifier
        and (pooler is None or not pooler.startswith(family.prefix) or model.base_model.pooler is not None)
        and all(getattr(attention_of(layer), "first_sees_all", True) for layer in encoder_layers(model)[-1:])
    )


def parameter_count(model: nn.Module) -> int:
    """Count the parameters, each shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())
