"""The student that only looks words up; see `compress.models.static`."""

from __future__ import annotations

from typing import Any

from compress.models.families.family import EncoderFree
from compress.models.head import SENTENCES, SEQUENCE
from compress.models.static import StaticConfig, StaticForSentenceEmbedding, StaticForSequenceClassification


def _macs(config: Any, length: int) -> int:
    """A mean multiplies every vector, of words and of pairs of them."""
    pairs: int = config.bigram_size * (length - 1) if config.bigram_buckets else 0
    words: int = config.embedding_size * length
    return words + pairs


FAMILY = EncoderFree(
    config=StaticConfig,
    classes={SEQUENCE: StaticForSequenceClassification, SENTENCES: StaticForSentenceEmbedding},
    counted=("vocab_size", "embedding_size", "bigram_size", "head_size", "max_position_embeddings"),
    integer_products=False,
    student_sizes={"embedding": "embedding_size", "width": "head_size", "buckets": "bigram_buckets"},
    macs=_macs,
    other_sizes={"hidden_size": lambda config: config.embedding_size, "num_hidden_layers": lambda _: 0},
)
