"""EuroBERT: a Llama whose attention sees both ways: rotary positions, gated feed-forward parts, RMSNorm before each part.

Source: Boizard et al. 2025, "EuroBERT: Scaling Multilingual Encoders for European Languages", arXiv 2503.05500, section 2.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    EuroBertConfig,
    EuroBertForMaskedLM,
    EuroBertForSequenceClassification,
    EuroBertForTokenClassification,
    EuroBertModel,
)
from transformers.models.eurobert.modeling_eurobert import EuroBertDecoderLayer

from compress.models.embedder import embedder
from compress.models.families.family import TURNED, Family
from compress.models.families.modernbert import check_rotary
from compress.models.families.nomic_bert import READ_BY_ATTENTION, headless
from compress.models.head import MASKED, SENTENCES, SEQUENCE, TOKENS


def _check(config: Any) -> str | None:
    if config.num_key_value_heads != config.num_attention_heads:
        return (
            f"num_key_value_heads is {config.num_key_value_heads!r}, but num_attention_heads {config.num_attention_heads}; "
            "heads with keys and values of their own alone are read"
        )
    return check_rotary([config.rope_parameters])


FAMILY = Family(
    config=EuroBertConfig,
    classes={
        SEQUENCE: EuroBertForSequenceClassification,
        TOKENS: EuroBertForTokenClassification,
        MASKED: EuroBertForMaskedLM,
        SENTENCES: embedder(EuroBertModel),
    },
    layer=EuroBertDecoderLayer,
    layers="layers",
    attention="self_attn",
    projections=READ_BY_ATTENTION,
    context="self_attn.o_proj",
    attention_norm="input_layernorm",
    feed_forward=("mlp.gate_proj", "mlp.down_proj"),
    gate="mlp.up_proj",
    activation="mlp.act_fn",
    output_norm="post_attention_layernorm",
    read_alike=(READ_BY_ATTENTION, ("mlp.gate_proj", "mlp.up_proj")),
    head=("classifier.", "dense."),
    masked_head=("lm_head",),
    base_parts=("embed_tokens.", "norm."),
    mark="embed_tokens.weight",
    heads=None,
    head_size="head_dim",
    embeddings_norm="",
    norms_behind=False,
    positions="rotary",
    sizes=("intermediate_size",),
    headless=headless,
    reads_types=False,
    why_not={"share": TURNED.format(kind="eurobert")},
    own_keys=("rms_norm_eps", "num_key_value_heads", "classifier_pooling"),
    check=_check,
    prunes_by_config=False,
)
