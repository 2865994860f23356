"""BERT."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from transformers.models.bert.modeling_bert import BertLayer

from compress.models.embedder import embedder
from compress.models.encoder_decoder import BertForSeq2SeqLM
from compress.models.families.albert import as_albert
from compress.models.families.family import Family, Student
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS, WRITER
from compress.models.init_from_teacher import begin_like_bert
from compress.models.students import values_like_bert


def after_attention(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    """See Family."""
    output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(context, hidden_states))
    return output


FAMILY = Family(
    config=BertConfig,
    classes={
        SEQUENCE: BertForSequenceClassification,
        TOKENS: BertForTokenClassification,
        SPANS: BertForQuestionAnswering,
        MASKED: BertForMaskedLM,
        SENTENCES: embedder(BertModel),
        WRITER: BertForSeq2SeqLM,
    },
    layer=BertLayer,
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
    decoder_layers="decoder.bert.encoder.layer",
    pooler="bert.pooler.dense",
    after_attention=after_attention,
    abilities=frozenset({"narrow", "gate_width", "share", "attend_far", "teach"}),
    masked_words=(BertForMaskedLM, "cls.predictions."),
    student=Student(values=values_like_bert, begin=begin_like_bert),
    as_shared=as_albert,
)
