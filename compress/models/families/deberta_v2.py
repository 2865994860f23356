"""DeBERTa, versions 2 and 3: BERT's layers with attention by content and by relative position. mDeBERTa is of this family.

Source: He et al. 2021, "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", arXiv 2006.03654; He, Gao and Chen 2023,
"DeBERTaV3", arXiv 2111.09543.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
    PreTrainedModel,
)
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Layer

from compress.errors import InputError
from compress.models.attention.disentangled import SUMMANDS, DisentangledEncoder
from compress.models.embedder import embedder
from compress.models.families.family import Family
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

WIDE = "the positions of a deberta-v2 are rows of the width that its layers read"
READ: dict[str, tuple[Any, ...]] = {
    "relative_attention": (True,),
    "share_att_key": (True,),
    "position_biased_input": (False,),
    "type_vocab_size": (0,),
    "conv_kernel_size": (0,),
}
"""What versions 3 have; some of version 2 have a convolution behind the first layer."""
BOTH = {"c2p", "p2c"}


def _adapted(model: PreTrainedModel) -> None:
    if isinstance(model, DebertaV2ForMaskedLM) and not model.config.legacy:
        raise InputError("legacy is False; set it to true, and the head for masked words is a new one")
    base: Any = model.base_model
    base.encoder = DisentangledEncoder(base.encoder, model.config)


def _after_attention(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = layer.behind_attention(context, hidden_states)
    return output


def _check(config: Any) -> str | None:
    for key, allowed in READ.items():
        value = getattr(config, key, 0)
        if value not in allowed:
            return f"{key} is {value!r}; {allowed[0]!r} alone is read, as DeBERTa-v3 has it"
    if {*(config.pos_att_type or ())} != BOTH:
        return f"pos_att_type is {config.pos_att_type!r}; c2p and p2c are needed, as DeBERTa-v3 has them"
    return None


FAMILY = Family(
    config=DebertaV2Config,
    classes={
        SEQUENCE: DebertaV2ForSequenceClassification,
        TOKENS: DebertaV2ForTokenClassification,
        SPANS: DebertaV2ForQuestionAnswering,
        MASKED: DebertaV2ForMaskedLM,
        SENTENCES: embedder(DebertaV2Model),
    },
    layer=DebertaV2Layer,
    layers="encoder.layer",
    attention="attention.self",
    projections=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
    context="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    activation="intermediate.intermediate_act_fn",
    output_norm="output.LayerNorm",
    read_alike=(
        ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
        ("intermediate.dense",),
    ),
    head=("classifier.", "pooler."),
    base_parts=("encoder.rel_embeddings.", "encoder.LayerNorm."),
    mark="embeddings.word_embeddings.weight",
    pooler="pooler.dense",
    positions="relative",
    summands=SUMMANDS,
    sizes=("intermediate_size",),
    reads_types=False,
    adapted=_adapted,
    after_attention=_after_attention,
    abilities=frozenset({"share"}),
    why_not={"narrow": WIDE, "gate_width": WIDE, "attend_far": "a deberta-v2 adds products with positions to all scores"},
    own_keys=("relative_attention", "position_buckets", "pos_att_type"),
    other_keys=("share_att_key", "position_buckets", "norm_rel_ebd", "conv_kernel_size", "pooler_hidden_size"),
    check=_check,
    prunes_by_config=False,
    masked_words=(DebertaV2ForMaskedLM, "cls.predictions."),
)
