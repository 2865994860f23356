"""NomicBERT: rotary positions and gated feed-forward parts, with BERT's normalization behind each part, and no biases.

Source: Nussbaum et al. 2024, "Nomic Embed: Training a Reproducible Long Context Text Embedder", arXiv 2402.01613, section 3.1.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    NomicBertConfig,
    NomicBertForMaskedLM,
    NomicBertForSequenceClassification,
    NomicBertForTokenClassification,
    NomicBertModel,
)
from transformers.models.nomic_bert.modeling_nomic_bert import NomicBertLayer

from compress.models.embedder import embedder
from compress.models.families.family import TURNED, Family
from compress.models.families.modernbert import check_rotary
from compress.models.head import MASKED, SENTENCES, SEQUENCE, TOKENS

READ_BY_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def headless(attention: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
    """See Family."""
    return attention.o_proj(hidden_states), None


FAMILY = Family(
    config=NomicBertConfig,
    classes={
        SEQUENCE: NomicBertForSequenceClassification,
        TOKENS: NomicBertForTokenClassification,
        MASKED: NomicBertForMaskedLM,
        SENTENCES: embedder(NomicBertModel),
    },
    layer=NomicBertLayer,
    layers="layers",
    attention="self_attn",
    projections=READ_BY_ATTENTION,
    context="self_attn.o_proj",
    attention_norm="post_attention_layernorm",
    feed_forward=("mlp.gate_proj", "mlp.down_proj"),
    gate="mlp.up_proj",
    activation="mlp.act_fn",
    output_norm="post_mlp_layernorm",
    read_alike=(READ_BY_ATTENTION, ("mlp.gate_proj", "mlp.up_proj")),
    head=("classifier.", "nomic_bert.pooler."),
    written_as={
        "encoder.layers": ("layers",),
        "emb_ln": ("embeddings.LayerNorm",),
        "attn.Wqkv": READ_BY_ATTENTION,
        "attn.out_proj": ("self_attn.o_proj",),
        "fc11": ("up_proj",),
        "fc12": ("gate_proj",),
        "fc2": ("down_proj",),
        "norm1": ("post_attention_layernorm",),
        "norm2": ("post_mlp_layernorm",),
    },
    mark="embeddings.word_embeddings.weight",
    heads=None,
    head_size="head_dim",
    pooler="nomic_bert.pooler.dense",
    positions="rotary",
    headless=headless,
    why_not={"share": TURNED.format(kind="nomic_bert")},
    told_as={
        "n_embd": "hidden_size",
        "n_head": "num_attention_heads",
        "n_layer": "num_hidden_layers",
        "n_inner": "intermediate_size",
        "n_positions": "max_position_embeddings",
        "layer_norm_epsilon": "layer_norm_eps",
    },
    check=lambda config: check_rotary([config.rope_parameters]),
    prunes_by_config=False,
    masked_words=(NomicBertForMaskedLM, "cls.predictions."),
)
