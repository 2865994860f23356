"""A student that only looks words up: the mean of learned vectors of words and of hashed word pairs, and a small head."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from compress.models.embedder import OfFeatures
from compress.models.sentence_features import feature_count, part_masks, sentence_features
from compress.models.token_vectors import rarity_weights

FACTOR = 1_000_003  # prime, and larger than any bucket's number, so that it has no factor in common with the buckets' count


PAIR_FACTOR = 0.2  # of the vectors of pairs, so that they learn slower than words: each is seen seldom, and learned by heart


class StaticConfig(PreTrainedConfig):
    """The sizes of a static student.

    Attributes:
        embedding_size: Width of a piece's vector.
        bigram_buckets: Rows of the table of hashed pairs of neighbours; 0 for none.
        bigram_size: Width of a pair's vector.
        head_size: Width of the layer between the mean and the labels.
        head_dropout: Of the mean, in training.
        token_dropout: Fraction of the pieces that a training step does not see.
        pairs: Whether an example is two sentences.
        max_position_embeddings: Longest text in tokens.
        embedder: What becomes of the mean where it is the answer; see `compress.models.embedder`.
    """

    model_type = "static"

    vocab_size: int = 30522
    embedding_size: int = 96
    bigram_buckets: int = 16_381
    bigram_size: int = 16
    head_size: int = 128
    head_dropout: float = 0.1
    token_dropout: float = 0.1
    pairs: bool = False
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    embedder: dict[str, Any] | None = None


class StaticModel(PreTrainedModel):
    """The mean over a sentence's tokens of a weight times a vector, and the same for its pairs of neighbours.

    Source: Tulkens and van Dongen 2024, model2vec, https://github.com/MinishLab/model2vec (vectors of a sentence encoder);
    Joulin et al. 2017, fastText, arXiv 1607.01759, section 2.1 (hashed n-grams).
    Differs: vectors and weights are learned on; pairs have a narrower table of their own.

    The weights of tokens are a factor that training can move at once for a whole vector; a file has them multiplied in.
    """

    config: StaticConfig
    config_class = StaticConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True  # there is no attention, so that any kernel of it will do
    hashes_ids = True
    """Pieces have to come with their own ids, not with places in a table that was shortened to the rows that a text uses."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.token_weights: nn.Parameter | None = nn.Parameter(torch.ones(config.vocab_size, 1))
        width = config.embedding_size
        if config.bigram_buckets:
            self.bigrams = nn.Embedding(config.bigram_buckets, config.bigram_size)
            width += config.bigram_size
        self.pair_factor = PAIR_FACTOR
        self.state_width = feature_count(width, pairs=config.pairs)

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: Any) -> None:
        self.embeddings = value

    def _init_weights(self, module: nn.Module) -> None:
        """As torch's own layers begin."""
        if isinstance(module, nn.Linear | nn.Embedding):
            module.reset_parameters()

    @torch.no_grad()
    def begin_with(self, vectors: torch.Tensor) -> None:
        """Set the vectors of pieces, scaled to a mean square of 1; rare pieces get the larger weights, and pairs nothing."""
        self.embeddings.weight.copy_(vectors / vectors.square().mean().sqrt())
        if self.token_weights is not None:
            self.token_weights.copy_(rarity_weights(len(vectors))[:, None])
        if self.config.bigram_buckets:
            nn.init.zeros_(self.bigrams.weight)

    def features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the head reads of a batch, (batch, length) each."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if self.training and self.config.token_dropout:
            mask = mask * (torch.rand(mask.shape, device=mask.device) >= self.config.token_dropout)
        parts = part_masks(mask, token_type_ids, pairs=self.config.pairs)  # (batch, sentences, length)
        rows = self.embeddings(input_ids)
        parts = parts.to(rows.dtype)
        if self.token_weights is not None:
            rows = rows * nn.functional.embedding(input_ids, self.token_weights)
        total = parts.sum(-1, keepdim=True).clamp(min=1)
        states = [parts @ rows / total]
        if self.config.bigram_buckets:
            hashed = (input_ids[:, :-1] * FACTOR + input_ids[:, 1:]) % self.config.bigram_buckets
            both = parts[:, :, 1:]
            if self.training and self.config.token_dropout:
                both = both * mask[:, None, :-1]
            states.append(both @ self.bigrams(hashed) * self.pair_factor / total)
        return sentence_features(torch.cat(states, -1))


class StaticForSequenceClassification(StaticModel):
    """Means of vectors, and two layers."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.head_dropout)
        self.dense = nn.Linear(self.state_width, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Answer a batch, (batch, length) each."""
        features = self.features(input_ids, attention_mask, token_type_ids)
        return SequenceClassifierOutput(logits=self.classifier(torch.relu(self.dense(self.dropout(features)))))


class StaticForSentenceEmbedding(OfFeatures, StaticModel):
    """Means of vectors, which are the answer, projected where the configuration says so."""


@contextlib.contextmanager
def weights_folded(model: PreTrainedModel) -> Iterator[None]:
    """Let a static student have its factors multiplied into its vectors; other models stay as they are."""
    weights = getattr(model, "token_weights", None)
    if not isinstance(model, StaticModel) or weights is None:
        yield
        return
    tables: list[tuple[nn.Embedding, torch.Tensor]] = [(model.embeddings, weights)]
    if model.config.bigram_buckets:
        tables.append((model.bigrams, torch.tensor(model.pair_factor)))
    kept = [table.weight for table, _ in tables]
    for table, factor in tables:
        table.weight = nn.Parameter((table.weight * factor).detach())
    model.token_weights, model.pair_factor = None, 1.0
    try:
        yield
    finally:
        for (table, _), weight in zip(tables, kept, strict=True):
            table.weight = weight
        model.token_weights, model.pair_factor = weights, PAIR_FACTOR
