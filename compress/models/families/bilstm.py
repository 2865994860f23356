"""The student that reads a sentence with recurrent layers; see `compress.models.bilstm`."""

from __future__ import annotations

from compress.models.bilstm import (
    BilstmConfig,
    BilstmForSentenceEmbedding,
    BilstmForSequenceClassification,
    wrong_sizes,
)
from compress.models.families.family import EncoderFree
from compress.models.head import SENTENCES, SEQUENCE

FAMILY = EncoderFree(
    config=BilstmConfig,
    classes={SEQUENCE: BilstmForSequenceClassification, SENTENCES: BilstmForSentenceEmbedding},
    counted=("vocab_size", "embedding_size", "lstm_size", "lstm_layers", "head_size", "max_position_embeddings"),
    integer_products=True,
    student_sizes={"embedding": "embedding_size", "width": "lstm_size", "layers": "lstm_layers", "mix": "mixes"},
    check=wrong_sizes,
    other_sizes={"hidden_size": lambda config: 2 * config.lstm_size, "num_hidden_layers": lambda config: config.lstm_layers},
)
