"""ELECTRA: BERT's layers behind word vectors of a width of their own, and a head of two Linears.

Source: Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", arXiv 2003.10555.
"""

from __future__ import annotations

from dataclasses import replace

from transformers import (
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ElectraModel,
)
from transformers.models.electra.modeling_electra import ElectraLayer

from compress.models.embedder import embedder
from compress.models.families.bert import FAMILY as BERT
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TEXT_LINEAR, TOKENS

FAMILY = replace(
    BERT,
    config=ElectraConfig,
    classes={
        SEQUENCE: ElectraForSequenceClassification,
        TOKENS: ElectraForTokenClassification,
        SPANS: ElectraForQuestionAnswering,
        MASKED: ElectraForMaskedLM,
        SENTENCES: embedder(ElectraModel),
    },
    layer=ElectraLayer,
    head=("classifier.dense.", "classifier.out_proj."),
    text_linear=TEXT_LINEAR,
    masked_head=("generator_predictions", "generator_lm_head"),
    decoder_layers=None,
    base_parts=("embeddings_project.",),
    pooler=None,
    sizes=("intermediate_size", "type_vocab_size", "embedding_size"),
    abilities=frozenset({"share", "attend_far"}),
    masked_words=(ElectraForMaskedLM, "generator_"),
    student=None,
    as_shared=None,
)
