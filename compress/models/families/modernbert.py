"""ModernBERT: rotary positions, gated feed-forward parts, normalization before each part, and layers that see a window alone.

Source: Warner et al. 2024, "Smarter, Better, Faster, Longer", arXiv 2412.13663. Ettin and mmBERT are of this family.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForQuestionAnswering,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertModel,
    PreTrainedModel,
)
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertAttention,
    ModernBertEncoderLayer,
    ModernBertMLP,
    apply_rotary_pos_emb,
)

from compress.errors import InputError
from compress.models.attention.kernel import attended, by_head, take_over
from compress.models.embedder import embedder
from compress.models.families.family import Family
from compress.models.head import CLASSIFIER, MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

FULL, WINDOW = "full_attention", "sliding_attention"


class ApartAttention(ModernBertAttention):
    """The attention, whose queries, keys and values are answers of Linears of their own: nothing is joined to be split again.

    Args:
        plain: The module as it is in transformers, whose parts this one takes over.
    """

    def __init__(self, plain: ModernBertAttention) -> None:
        take_over(self, plain)
        self.dropout = nn.Dropout(self.attention_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        query, key, value = (by_head(part(hidden_states), self.head_dim) for part in self.Wqkv.children())
        assert position_embeddings is not None
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        context = attended(self, query, key, value, attention_mask, scaling=self.head_dim**-0.5)
        return self.out_drop(self.Wo(context)), None


class ApartNeurons(ModernBertMLP):
    """The feed-forward part, whose neurons and gates are answers of Linears of their own.

    Args:
        plain: See ApartAttention.
    """

    def __init__(self, plain: ModernBertMLP) -> None:
        take_over(self, plain)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        value, gate = (part(hidden_states) for part in self.Wi.children())
        answer: torch.Tensor = self.Wo(self.drop(self.act(value) * gate))
        return answer


def _adapted(model: PreTrainedModel) -> None:
    base: Any = model.base_model
    for layer in base.layers:
        layer.attn, layer.mlp = ApartAttention(layer.attn), ApartNeurons(layer.mlp)


def _kept(student: PreTrainedModel, kept: list[nn.Module]) -> PreTrainedModel:
    """Keep what each layer sees; the first one alone reads the embeddings as they are, which it cannot learn from another."""
    base: Any = student.base_model
    layers = list(base.layers)
    if kept[0] is not layers[0]:
        raise InputError(
            "the first layer of a modernbert normalizes nothing before its attention, and the others do; keep layer 0."
        )
    base.layers = nn.ModuleList(kept)
    for index, layer in enumerate(base.layers):
        layer.layer_idx = layer.attn.layer_idx = index
    student.config.layer_types = [layer.attention_type for layer in base.layers]
    student.config.num_hidden_layers = len(kept)
    return student


def _headless(attention: Any, hidden_states: Any) -> Any:
    return attention.out_drop(attention.Wo(hidden_states)), None


def check_rotary(entries: Iterable[Any]) -> str | None:
    """What is wrong with parameters of rotary positions, as the end of a message; None where nothing is."""
    for parameters in entries:
        if not isinstance(parameters, dict) or parameters.get("rope_type", "default") != "default":
            return f"rope_parameters has {parameters!r}; plain rotary positions alone (rope_type default) are read"
    return None


def _check(config: Any) -> str | None:
    kinds = config.layer_types
    if not isinstance(kinds, list) or len(kinds) != config.num_hidden_layers or not {*kinds} <= {FULL, WINDOW}:
        return f"layer_types must name {FULL} or {WINDOW} for each of {config.num_hidden_layers} layers"
    if type(config.local_attention) is not int or not 2 <= config.local_attention < 1 << 24:
        return f"local_attention is {config.local_attention!r}; a whole number from 2 on is needed"
    return check_rotary((config.rope_parameters or {}).values())


FAMILY = Family(
    config=ModernBertConfig,
    classes={
        SEQUENCE: ModernBertForSequenceClassification,
        TOKENS: ModernBertForTokenClassification,
        SPANS: ModernBertForQuestionAnswering,
        MASKED: ModernBertForMaskedLM,
        SENTENCES: embedder(ModernBertModel),
    },
    layer=ModernBertEncoderLayer,
    layers="layers",
    attention="attn",
    projections=("attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value"),
    context="attn.Wo",
    attention_norm="attn_norm",
    feed_forward=("mlp.Wi.value", "mlp.Wo"),
    gate="mlp.Wi.gate",
    activation="mlp.act",
    output_norm="mlp_norm",
    read_alike=(("attn.Wqkv.query", "attn.Wqkv.key", "attn.Wqkv.value"), ("mlp.Wi.value", "mlp.Wi.gate")),
    fused={"attn.Wqkv": ("query", "key", "value"), "mlp.Wi": ("value", "gate")},
    head=("classifier.", "head."),
    masked_head=("head", "decoder"),
    token_head=("classifier.", "head."),
    span_linear=CLASSIFIER,
    base_parts=("final_norm.",),
    mark="embeddings.tok_embeddings.weight",
    heads=None,
    head_size="head_dim",
    embeddings_norm="embeddings.norm",
    norms_behind=False,
    positions="rotary",
    sizes=("intermediate_size",),
    layers_differ=True,
    kept=_kept,
    headless=_headless,
    adapted=_adapted,
    reads_types=False,
    own_keys=("local_attention", "classifier_pooling"),
    other_keys=("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"),
    check=_check,
)
