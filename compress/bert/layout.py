"""Where a model keeps its layers, and what is in them."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError

MODEL_TYPES = ("bert",)


def encoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, from the embeddings up.

    Raises:
        InputError: The model is of a family that the toolkit does not know.
    """
    kind = getattr(model.config, "model_type", None)
    if kind not in MODEL_TYPES:
        raise InputError(
            f"model type {kind!r} is not supported; allowed: {', '.join(MODEL_TYPES)}. Start from a BERT checkpoint."
        )
    layers = model.base_model.encoder.layer
    assert isinstance(layers, nn.ModuleList)
    return layers


def attention_of(layer: Any) -> Any:
    """The module with the layer's query, key and value projections."""
    return layer.attention.self


def projections_of(layer: Any) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The layer's query, key and value projections."""
    attention = attention_of(layer)
    return attention.query, attention.key, attention.value


def head_count(layer: Any) -> int:
    """How many attention heads the layer has."""
    heads: int = attention_of(layer).num_attention_heads
    return heads


def same_input(model: PreTrainedModel) -> list[list[str]]:
    """Names of the Linears behind a LayerNorm, those together that read the same: query, key and value, and the first of the
    feed-forward part."""
    groups = []
    names = {module: name for name, module in model.named_modules()}
    layer: Any
    for layer in encoder_layers(model):
        attention = attention_of(layer)
        groups.append([names[attention.query], names[attention.key], names[attention.value]])
        groups.append([names[layer.intermediate.dense]])
    return groups


def reads_first_token_only(model: PreTrainedModel) -> bool:
    """Whether the head looks at the first token of the last layer and at nothing else."""
    return (
        model.config.model_type == "bert"
        and type(model).__name__ == "BertForSequenceClassification"
        and getattr(model.base_model, "pooler", None) is not None
    )


def parameter_count(model: nn.Module) -> int:
    """Count the parameters, each shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())
