"""ERNIE: computes as BERT does, and may add one more row to its embeddings, that of a kind of task.

Source: Sun et al. 2019, "ERNIE: Enhanced Representation through Knowledge Integration", arXiv 1904.09223; Sun et al. 2021,
"ERNIE 3.0", arXiv 2107.02137 (the kinds of tasks, of which a text is always of the first here, as in transformers).
"""

from __future__ import annotations

from dataclasses import replace

from transformers import (
    ErnieConfig,
    ErnieForMaskedLM,
    ErnieForQuestionAnswering,
    ErnieForSequenceClassification,
    ErnieForTokenClassification,
    ErnieModel,
)
from transformers.models.ernie.modeling_ernie import ErnieLayer

from compress.models.embedder import embedder
from compress.models.families.bert import FAMILY as BERT
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

FAMILY = replace(
    BERT,
    config=ErnieConfig,
    classes={
        SEQUENCE: ErnieForSequenceClassification,
        TOKENS: ErnieForTokenClassification,
        SPANS: ErnieForQuestionAnswering,
        MASKED: ErnieForMaskedLM,
        SENTENCES: embedder(ErnieModel),
    },
    layer=ErnieLayer,
    head=("classifier.", "ernie.pooler."),
    pooler="ernie.pooler.dense",
    decoder_layers=None,
    sizes=(*BERT.sizes, "task_type_vocab_size"),
    own_keys=("task_type_vocab_size", "use_task_id"),
    abilities=BERT.abilities - {"teach"},
    masked_words=(ErnieForMaskedLM, "cls.predictions."),
    student=None,
    as_shared=None,
)
