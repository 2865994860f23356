"""MPNet: BERT's layers with a bias of relative positions in the scores, shared by all of them.

Source: Song et al. 2020, "MPNet: Masked and Permuted Pre-training for Language Understanding", arXiv 2004.09297.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    MPNetConfig,
    MPNetForMaskedLM,
    MPNetForQuestionAnswering,
    MPNetForSequenceClassification,
    MPNetForTokenClassification,
    MPNetModel,
    PreTrainedModel,
)
from transformers.models.mpnet.modeling_mpnet import MPNetLayer

from compress.models.attention.relative import RelativeEncoder
from compress.models.embedder import embedder
from compress.models.families.family import HEAD_TABLE, Family
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TEXT_LINEAR, TOKENS

FIRST_POSITION = 2
"""Positions are counted from 1 + the padding's number on, which is 1 whatever the configuration says."""
NUMBERED = 2
"""So that the padding's number stays."""
BUCKETS = 32
"""Of relative positions, whatever the configuration says."""
OF_HEADS = "an mpnet has a bias of positions for as many heads as its configuration tells, which has to divide its width"


def _adapted(model: PreTrainedModel) -> None:
    base: Any = model.base_model
    base.encoder = RelativeEncoder(base.encoder, model.config)


def _after_attention(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = layer.behind_attention(layer.attention.attn.o(context), hidden_states)
    return output


def _headless(attention: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
    return attention.o(hidden_states), None


def _check(config: Any) -> str | None:
    if config.max_position_embeddings <= FIRST_POSITION:
        return f"max_position_embeddings is {config.max_position_embeddings}; a text's first token has position 2"
    if config.relative_attention_num_buckets != BUCKETS:
        return f"relative_attention_num_buckets is {config.relative_attention_num_buckets!r}; {BUCKETS} alone are read"
    return None


FAMILY = Family(
    config=MPNetConfig,
    classes={
        SEQUENCE: MPNetForSequenceClassification,
        TOKENS: MPNetForTokenClassification,
        SPANS: MPNetForQuestionAnswering,
        MASKED: MPNetForMaskedLM,
        SENTENCES: embedder(MPNetModel),
    },
    layer=MPNetLayer,
    layers="encoder.layer",
    attention="attention.attn",
    projections=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    context="attention.attn.o",
    attention_norm="attention.LayerNorm",
    feed_forward=("intermediate.dense", "output.dense"),
    activation="intermediate.intermediate_act_fn",
    output_norm="output.LayerNorm",
    read_alike=(("attention.attn.q", "attention.attn.k", "attention.attn.v"), ("intermediate.dense",)),
    head=("classifier.dense.", "classifier.out_proj."),
    text_linear=TEXT_LINEAR,
    masked_head=("lm_head", "lm_head.decoder"),
    unread=("mpnet.pooler.",),
    pooler="classifier.dense",
    first_position=lambda _: FIRST_POSITION,
    numbered=NUMBERED,
    head_table=f"encoder.{HEAD_TABLE}",
    sizes=("intermediate_size", "relative_attention_num_buckets"),
    headless=_headless,
    reads_types=False,
    adapted=_adapted,
    after_attention=_after_attention,
    abilities=frozenset({"share"}),
    why_not={"narrow": OF_HEADS, "gate_width": OF_HEADS, "attend_far": "an mpnet adds a bias of positions to all scores"},
    own_keys=("relative_attention_num_buckets",),
    check=_check,
    prunes_by_config=False,
    masked_words=(MPNetForMaskedLM, "lm_head."),
)
