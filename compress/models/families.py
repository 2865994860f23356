"""The model families that the toolkit knows, and where each of them keeps its parts.

The classes are those of transformers, so that anyone loads a saved model without this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    MobileBertConfig,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.albert.modeling_albert import AlbertLayer
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.distilbert.modeling_distilbert import TransformerBlock
from transformers.models.mobilebert.modeling_mobilebert import MobileBertLayer

from compress.errors import InputError
from compress.models.bilstm import BilstmConfig, BilstmForSequenceClassification
from compress.models.head import SEQUENCE, TOKENS
from compress.models.static import StaticConfig, StaticForSequenceClassification

Size = Callable[[Any], int]
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


@dataclass(frozen=True)
class Family:
    """One family; the names of modules inside a layer are paths from the layer.

    Args:
        config: Its class, which tells `model_type`.
        classifier: The class with a head for sequences; its `base_model_prefix` stands before the base model's weights.
        token_classifier: The class with a head for each token.
        layer: The class of an encoder layer.
        layers: Path from the base model to what holds the layers.
        attention: Path to the module with the projections.
        projections: Paths of query, key and value.
        context: Path of the Linear that reads what the heads answer.
        attention_norm: Path of the normalization behind attention.
        feed_forward: Paths of the two Linears of the (last) feed-forward part.
        activation: Path of the function between them.
        output_norm: Path of the normalization behind it.
        read_alike: Paths of Linears that read one and the same input, the input's normalization done.
        heads: Attribute of the attention module that counts its heads.
        head: Where the names of the weights begin that a new head is made of.
        sizes: Keys of the configuration that count something, besides SIZES.
        attention_width: Key of the configuration for the width that the heads divide.
        distinct_layers: Keys of the configuration whose product counts the layers that have weights of their own.
        reads_types: Whether it reads token types.
        after_attention: What the layer makes of the heads' answers and of its own input; None where the last layer computes
            every token.
        other_sizes: What config.json tells besides, under names by which readers of BERT's ask, from the configuration.
    """

    config: type[PretrainedConfig]
    classifier: type[PreTrainedModel]
    token_classifier: type[PreTrainedModel]
    layer: type[nn.Module]
    layers: str
    attention: str
    projections: tuple[str, str, str]
    context: str
    attention_norm: str
    feed_forward: tuple[str, str]
    activation: str
    output_norm: str
    read_alike: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    heads: str = "num_attention_heads"
    sizes: tuple[str, ...] = ("intermediate_size", "type_vocab_size")
    attention_width: str = "hidden_size"
    distinct_layers: tuple[str, ...] = ("num_hidden_layers",)
    reads_types: bool = True
    after_attention: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    other_sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def classes(self) -> dict[str, type[PreTrainedModel]]:
        """The class for each kind of head, by how its name ends."""
        return {SEQUENCE: self.classifier, TOKENS: self.token_classifier}

    @property
    def prefix(self) -> str:
        """What stands before the names of the base model's weights, with its dot."""
        return f"{self.classifier.base_model_prefix}."

    @property
    def counted(self) -> tuple[str, ...]:
        """Keys of the configuration that count something."""
        return (*SIZES, *self.sizes)

    @property
    def inputs(self) -> list[str]:
        """The names of what a model of the family can read, in order."""
        return ["input_ids", "attention_mask", *(["token_type_ids"] if self.reads_types else [])]


def _after_attention_in_bert(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(context, hidden_states))
    return output


def _after_attention_in_distilbert(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    attended = layer.sa_layer_norm(layer.attention.out_lin(context) + hidden_states)
    output: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return output


FAMILIES = {
    "bert": Family(
        BertConfig,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertLayer,
        layers="encoder.layer",
        attention="attention.self",
        projections=("attention.self.query", "attention.self.key", "attention.self.value"),
        context="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        feed_forward=("intermediate.dense", "output.dense"),
        activation="intermediate.intermediate_act_fn",
        output_norm="output.LayerNorm",
        read_alike=(("attention.self.query", "attention.self.key", "attention.self.value"), ("intermediate.dense",)),
        head=("classifier.", "bert.pooler."),
        after_attention=_after_attention_in_bert,
    ),
    "distilbert": Family(
        DistilBertConfig,
        DistilBertForSequenceClassification,
        DistilBertForTokenClassification,
        TransformerBlock,
        layers="transformer.layer",
        attention="attention",
        projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        context="attention.out_lin",
        attention_norm="sa_layer_norm",
        feed_forward=("ffn.lin1", "ffn.lin2"),
        activation="ffn.activation",
        output_norm="output_layer_norm",
        read_alike=(("attention.q_lin", "attention.k_lin", "attention.v_lin"), ("ffn.lin1",)),
        head=("classifier.", "pre_classifier."),
        heads="n_heads",
        sizes=("hidden_dim",),
        reads_types=False,
        after_attention=_after_attention_in_distilbert,
        other_sizes={"intermediate_size": lambda config: config.hidden_dim},  # the others are in its attribute_map
    ),
    "mobilebert": Family(
        MobileBertConfig,
        MobileBertForSequenceClassification,
        MobileBertForTokenClassification,
        MobileBertLayer,
        layers="encoder.layer",
        attention="attention.self",
        projections=("attention.self.query", "attention.self.key", "attention.self.value"),
        context="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        feed_forward=("intermediate.dense", "output.dense"),
        activation="intermediate.intermediate_act_fn",
        output_norm="output.LayerNorm",
        read_alike=(("attention.self.query", "attention.self.key"), ("attention.self.value",), ("intermediate.dense",)),
        head=("classifier.", "mobilebert.pooler."),
        sizes=(
            "intermediate_size",
            "type_vocab_size",
            "embedding_size",
            "intra_bottleneck_size",
            "num_feedforward_networks",
        ),
        attention_width="true_hidden_size",
    ),
    "albert": Family(
        AlbertConfig,
        AlbertForSequenceClassification,
        AlbertForTokenClassification,
        AlbertLayer,
        layers="encoder.albert_layer_groups",
        attention="attention",
        projections=("attention.query", "attention.key", "attention.value"),
        context="attention.dense",
        attention_norm="attention.LayerNorm",
        feed_forward=("ffn", "ffn_output"),
        activation="activation",
        output_norm="full_layer_layer_norm",
        read_alike=(("attention.query", "attention.key", "attention.value"), ("ffn",)),
        head=("classifier.", "albert.pooler."),
        sizes=("intermediate_size", "type_vocab_size", "embedding_size", "num_hidden_groups", "inner_group_num"),
        distinct_layers=("num_hidden_groups", "inner_group_num"),
    ),
}


@dataclass(frozen=True)
class EncoderFree:
    """A family without an encoder, whose classes are the toolkit's own: nothing of it can be cut, dropped or watched by layer.

    Args:
        config: Its class, which tells `model_type`.
        classifier: The class of its models.
        counted: Keys of the configuration that count something.
        integer_products: Whether its products are large enough to gain from integer kernels; else only the tables of its int8
            file are whole numbers.
        head: Where the names of the weights begin that a new head is made of.
        inputs: The names of what a model can read, in order.
        other_sizes: See Family.
    """

    config: type[PretrainedConfig]
    classifier: type[PreTrainedModel]
    counted: tuple[str, ...]
    integer_products: bool
    head: tuple[str, ...] = ("dense.", "classifier.")
    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    other_sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def classes(self) -> dict[str, type[PreTrainedModel]]:
        """The class for each kind of head, by how its name ends."""
        return {SEQUENCE: self.classifier}


PLAIN = {
    "bilstm": EncoderFree(
        BilstmConfig,
        BilstmForSequenceClassification,
        counted=("vocab_size", "embedding_size", "lstm_size", "head_size", "max_position_embeddings"),
        integer_products=True,
        other_sizes={"hidden_size": lambda config: 2 * config.lstm_size, "num_hidden_layers": lambda _: 1},
    ),
    "static": EncoderFree(
        StaticConfig,
        StaticForSequenceClassification,
        counted=("vocab_size", "embedding_size", "bigram_size", "head_size", "max_position_embeddings"),
        integer_products=False,
        other_sizes={"hidden_size": lambda config: config.embedding_size, "num_hidden_layers": lambda _: 0},
    ),
}

KNOWN: dict[str, Family | EncoderFree] = {**FAMILIES, **PLAIN}


def known_family(model: PreTrainedModel) -> Family | EncoderFree:
    """The family of a model, with an encoder or without.

    Raises:
        InputError: The toolkit does not know it.
    """
    kind = getattr(model.config, "model_type", None)
    if kind not in KNOWN:
        raise InputError(
            f"model type {kind!r} is not supported; allowed: {', '.join(KNOWN)}. Start from a checkpoint of one of these."
        )
    return KNOWN[kind]


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model with an encoder.

    Raises:
        InputError: The toolkit does not know it, or it has no encoder.
    """
    family = known_family(model)
    if isinstance(family, EncoderFree):
        raise InputError(f"a {model.config.model_type} has no encoder; start from a checkpoint of {', '.join(FAMILIES)}.")
    return family


def family_of_layer(layer: nn.Module) -> Family:
    """The family that an encoder layer is of."""
    return next(family for family in FAMILIES.values() if isinstance(layer, family.layer))


def inputs_of(config: PretrainedConfig) -> list[str]:
    """The names of what a model reads, in order; one whose table of token types has a single row reads none."""
    names = KNOWN[config.model_type].inputs
    return [name for name in names if name != "token_type_ids" or getattr(config, "type_vocab_size", 2) > 1]


def fitted_tokenizer(tokenizer: Any, config: PretrainedConfig) -> Any:
    """Let a tokenizer give what a model of this configuration reads and nothing else, when it is saved and loaded again as
    well."""
    tokenizer.model_input_names = inputs_of(config)
    tokenizer.init_kwargs["model_input_names"] = inputs_of(config)
    return tokenizer
