"""DeBERTa's encoder: attention by content and by relative position, of which every distance is computed once.

A score is the sum of three products over the root of three times the head's size (He et al. 2021, "DeBERTa: Decoding-enhanced
BERT with Disentangled Attention", arXiv 2006.03654, equation 4):

    q_i . k_j  +  q_i . K(i - j)  +  k_j . Q(i - j)

where K and Q are the projections of a row of a table for each distance, far distances sharing one (arXiv 2111.09543).

transformers projects the whole table for each example of a batch and gathers an index for each pair of tokens. Here the rows
of the 2 * length - 1 distances that a batch has are projected once; with these in order, a product with all of them holds the
scores of a row of the matrix side by side, and the next row's stand one place on, so that a view takes the place of the
gathering. Queries are scaled before each product, and so are the rows Q: in float16 the products would overflow else.

Unlike there, a padding token attends to tokens, not to nothing; no token sees it either way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    DebertaV2Encoder,
    DebertaV2Layer,
    DisentangledSelfAttention,
    make_log_bucket_position,
)

from compress.models.attention.kernel import attended, by_head, hiding, take_over
from compress.models.quantizers import QuantizedLinear

SUMMANDS = 3


class Distances(NamedTuple):
    """What layers are told of relative positions.

    Args:
        rows: For each distance from length - 1 down to 1 - length the row of the table, (2 * length - 1,).
        table: Normalized, (rows, width).
    """

    rows: torch.Tensor
    table: torch.Tensor

    @property
    def length(self) -> int:
        """How many tokens the batch is long."""
        return (self.rows.shape[0] + 1) // 2


class DisentangledAttention(DisentangledSelfAttention):
    """DeBERTa's attention by one of transformers' kernels, which is told the products with positions with the mask.

    Args:
        plain: The module as it is in transformers, whose parts this one takes over.
        config: The model's, which tells the kernel.

    Attributes:
        folded: The projections of the table, of keys and of queries, the latter scaled, (rows, attention width) each; None
            where they are computed.
    """

    def __init__(self, plain: DisentangledSelfAttention, config: Any) -> None:
        take_over(self, plain)
        self.config, self.is_causal = config, False
        self.scaling = (self.attention_head_size * SUMMANDS) ** -0.5
        self.folded: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor, distances: Distances, **_: Any
    ) -> tuple[torch.Tensor, None]:
        parts = (self.query_proj, self.key_proj, self.value_proj)
        query, key, value = (self._by_head(part(hidden_states)) for part in parts)
        query = query * self.scaling
        of_keys, of_queries = self._projected(distances)
        positions = _side_by_side(query @ of_keys) + _side_by_side(key @ of_queries.flip(-1)).transpose(-1, -2)
        return attended(self, query, key, value, attention_mask + positions, scaling=1.0), None

    def added_for_first(
        self, query: torch.Tensor, keys: torch.Tensor, attention_mask: Any, distances: Distances
    ) -> torch.Tensor:
        """What is added to the scores of the first token, (batch, heads, length); see
        `compress.models.first_token.attended_by_first`.

        Args:
            query: Its own, scaled, (batch, 1, attention width).
            keys: Of all tokens, (batch, length, attention width).
            attention_mask: What is added to all scores, (batch, 1, 1, length).
            distances: Of the batch.
        """
        key = self._by_head(keys)  # (batch, heads, length, head size)
        rows = distances._replace(rows=distances.rows[distances.length - 1 :])  # from distance 0 down
        of_keys, of_queries = self._projected(rows)  # (heads, head size, length)
        positions = (self._by_head(query) @ of_keys)[:, :, 0] + (key * of_queries.transpose(-1, -2)).sum(-1)
        return attention_mask[:, :, 0] + positions

    def _by_head(self, states: torch.Tensor) -> torch.Tensor:
        return by_head(states, self.attention_head_size)

    def _projected(self, distances: Distances) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of keys and of queries, the latter scaled, (heads, head size, distances) each."""
        if self.folded is not None:
            rows = [functional.embedding(distances.rows, table) for table in self.folded]
        else:
            states = self.pos_dropout(functional.embedding(distances.rows, distances.table))
            rows = list(self.positions_of(states))
        of_keys, of_queries = (part.view(part.shape[0], -1, self.attention_head_size).permute(1, 2, 0) for part in rows)
        return of_keys, of_queries

    def positions_of(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What key and query projection answer for rows of the table, the latter scaled. The modules are not called as they
        are for tokens, for which what watches them is meant; nor is what they read quantized."""
        key, query = (
            functional.linear(states, part.weight, part.bias) if isinstance(part, QuantizedLinear) else part.forward(states)
            for part in (self.key_proj, self.query_proj)
        )
        return key, query * self.scaling


class DisentangledLayer(DebertaV2Layer):
    """DeBERTa's layer, which answers a tensor, as those of other families do.

    Args:
        plain: See DisentangledAttention.
        config: See DisentangledAttention.
    """

    def __init__(self, plain: DebertaV2Layer, config: Any) -> None:
        take_over(self, plain)
        own: Any = self.attention
        own.self = DisentangledAttention(own.self, config)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.behind_attention(self.attention.self(hidden_states, attention_mask, **options)[0], hidden_states)

    def behind_attention(self, context: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the layer makes of what its heads answer and of its own input."""
        attended = self.attention.output(context, hidden_states)
        output: torch.Tensor = self.output(self.intermediate(attended), attended)
        return output


class DisentangledEncoder(DebertaV2Encoder):
    """DeBERTa's encoder, which tells its layers the distances of a batch.

    Args:
        plain: See DisentangledAttention.
        config: See DisentangledAttention.

    Attributes:
        folded: Rows of the table for all distances from the longest text's down; None where they are computed.
    """

    def __init__(self, plain: DebertaV2Encoder, config: Any) -> None:
        take_over(self, plain)
        self.layer = nn.ModuleList([DisentangledLayer(layer, config) for layer in plain.layer])
        self.folded: torch.Tensor | None = None

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        **_: Any,
    ) -> BaseModelOutput:
        mask = hiding(attention_mask[:, None, None].bool(), hidden_states.dtype)
        distances = Distances(self._rows(hidden_states.shape[1]), self.get_rel_embedding())
        states = [hidden_states]
        layers: Any = self.layer
        for layer in layers:
            states.append(layer(states[-1], mask, distances=distances))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=tuple(states))

    def _rows(self, length: int) -> torch.Tensor:
        if self.folded is None:
            return self.rows_of(length)
        longest = (self.folded.shape[0] + 1) // 2
        return self.folded[longest - length : longest + length - 1]

    def rows_of(self, length: int) -> torch.Tensor:
        """See `Distances.rows`."""
        half = self.rel_embeddings.num_embeddings // 2
        distances = length - 1 - torch.arange(2 * length - 1, device=self.rel_embeddings.weight.device)
        if self.position_buckets > 0:
            distances = make_log_bucket_position(distances, self.position_buckets, self.max_relative_positions).long()
        return (distances + half).clamp(0, 2 * half - 1)


def _side_by_side(products: torch.Tensor) -> torch.Tensor:
    """Of products of each token i with rows of distances, which go down from length - 1, (..., length, 2 * length - 1), those
    with distance i - j for each token j, (..., length, length)."""
    length = products.shape[-2]
    padded = functional.pad(products, (0, 1)).flatten(-2)  # a row's first number stands 2 * length - 1 behind the one before
    wanted = padded[..., length - 1 : length - 1 + length * (2 * length - 1)]
    return wanted.view(*products.shape[:-1], 2 * length - 1)[..., :length]


@contextlib.contextmanager
def positions_folded(model: PreTrainedModel) -> Iterator[None]:
    """Let DeBERTa's layers look projections of positions up for a while, which are the same for all texts; other models stay
    as they are."""
    encoder: Any = getattr(model.base_model, "encoder", None)
    if not isinstance(encoder, DisentangledEncoder):
        yield
        return
    attentions = [module for module in encoder.modules() if isinstance(module, DisentangledAttention)]
    with torch.no_grad():
        table = encoder.get_rel_embedding()
        encoder.folded = encoder.rows_of(model.config.max_position_embeddings)
        for attention in attentions:
            attention.folded = attention.positions_of(table)
    try:
        yield
    finally:
        encoder.folded = None
        for attention in attentions:
            attention.folded = None
