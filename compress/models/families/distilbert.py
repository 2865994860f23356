"""DistilBERT."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    DistilBertModel,
)
from transformers.models.distilbert.modeling_distilbert import TransformerBlock

from compress.models.embedder import embedder
from compress.models.families.family import Family, Student
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS
from compress.models.init_from_teacher import begin_like_bert
from compress.models.students import StudentShape


def _after_attention(layer: Any, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
    attended = layer.sa_layer_norm(layer.attention.out_lin(context) + hidden_states)
    output: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return output


def _headless(attention: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
    return attention.out_lin(hidden_states), None


def _values(config: Any, shape: StudentShape) -> dict[str, Any]:
    dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
    return {
        "hidden_dim": shape.intermediate,
        "activation": config.hidden_act,
        "dropout": config.hidden_dropout_prob,
        "attention_dropout": config.attention_probs_dropout_prob,
        "seq_classif_dropout": dropout,
    }


FAMILY = Family(
    config=DistilBertConfig,
    classes={
        SEQUENCE: DistilBertForSequenceClassification,
        TOKENS: DistilBertForTokenClassification,
        SPANS: DistilBertForQuestionAnswering,
        MASKED: DistilBertForMaskedLM,
        SENTENCES: embedder(DistilBertModel),
    },
    layer=TransformerBlock,
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
    masked_head=("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    heads="n_heads",
    pooler="pre_classifier",
    pooler_is_relu=True,
    sizes=("hidden_dim",),
    reads_types=False,
    headless=_headless,
    after_attention=_after_attention,
    abilities=frozenset({"narrow", "gate_width", "share", "attend_far"}),
    own_keys=("dim", "n_layers", "hidden_dim"),
    student=Student(values=_values, begin=begin_like_bert),
    other_sizes={"intermediate_size": lambda config: config.hidden_dim},  # the others are in its attribute_map
)
