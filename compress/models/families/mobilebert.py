"""MobileBERT, whose layers compute in a bottleneck."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    MobileBertConfig,
    MobileBertForMaskedLM,
    MobileBertForQuestionAnswering,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    MobileBertModel,
    PreTrainedModel,
)
from transformers.models.mobilebert.modeling_mobilebert import MobileBertLayer

from compress.models.embedder import embedder
from compress.models.families.family import Family, Student
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS
from compress.models.init_from_teacher import InitFromTeacher, state_basis, table_basis
from compress.models.principal import fit_norms
from compress.models.students import StudentShape, embedding_tables, write_embeddings


@torch.no_grad()
def _begin(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """MobileBERT: the embeddings; no layer of a BERT fits into its bottlenecks, so they stay random, and so does the head.

    Of the three words that it reads at each place the middle one gets the teacher's table, the others start at 0. The row of
    the padding is 0, as is what lies beyond a sentence's ends, so that padding does not reach its neighbours.
    """
    assert lesson.seen is not None
    embeddings: Any = student.base_model.embeddings
    size, tables = student.config.embedding_size, embedding_tables(lesson.teacher)
    basis, narrow = state_basis(lesson, student.config.hidden_size), table_basis(lesson, size)
    words = tables.pop("word_embeddings") @ narrow
    words[embeddings.word_embeddings.padding_idx] = 0
    write_embeddings(student, {"word_embeddings": words, **{name: table @ basis for name, table in tables.items()}})
    embeddings.embedding_transformation.weight.zero_()
    embeddings.embedding_transformation.weight[:, size : 2 * size] = (basis.T @ narrow).float()
    embeddings.embedding_transformation.bias.zero_()
    fit_norms(student, lesson.batches, [(embeddings.LayerNorm, lesson.seen.states[0] @ basis)])


def _values(config: Any, shape: StudentShape) -> dict[str, Any]:
    """No dropout of hidden states and ReLU, as in the paper."""
    return {
        "intermediate_size": shape.intermediate,
        "type_vocab_size": config.type_vocab_size,
        "embedding_size": shape.embedding,
        "intra_bottleneck_size": shape.bottleneck,
        "classifier_activation": False,
        "num_feedforward_networks": shape.feed_forwards,
        "normalization_type": shape.normalization,
    }


FAMILY = Family(
    config=MobileBertConfig,
    classes={
        SEQUENCE: MobileBertForSequenceClassification,
        TOKENS: MobileBertForTokenClassification,
        SPANS: MobileBertForQuestionAnswering,
        MASKED: MobileBertForMaskedLM,
        SENTENCES: embedder(MobileBertModel),
    },
    layer=MobileBertLayer,
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
    uncalled=("cls.predictions.decoder", "cls.predictions.dense"),
    sizes=(
        "intermediate_size",
        "type_vocab_size",
        "embedding_size",
        "intra_bottleneck_size",
        "num_feedforward_networks",
    ),
    attention_width="true_hidden_size",
    own_keys=("intra_bottleneck_size", "trigram_input"),
    why_not={"narrow": "a MobileBERT computes in its bottlenecks, which the stream between its layers does not narrow"},
    student=Student(
        values=_values,
        begin=_begin,
        takes="nothing",
        own_sizes=("embedding", "bottleneck", "feed_forwards", "normalization"),
        bottleneck=True,
        halves=False,
    ),
)
