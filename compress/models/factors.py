"""Matrices written as two thinner ones: a Linear of low rank, and a word table with fewer columns and a Linear behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.spelled import SpelledEmbedding


class LowRankLinear(nn.Module):
    """Two Linears in the place of one: `down` (in, rank) without a bias, `up` (rank, out) with the bias."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs)

    @property
    def in_features(self) -> int:
        """The width that it reads."""
        return self.down.in_features

    @property
    def out_features(self) -> int:
        """The width that it answers."""
        return self.up.out_features

    @property
    def rank(self) -> int:
        """The width between."""
        return self.down.out_features

    @property
    def weight(self) -> torch.Tensor:
        """The product of the two, (out, in)."""
        return self.up.weight @ self.down.weight

    @property
    def bias(self) -> torch.Tensor:
        """That of `up`, (out,)."""
        return self.up.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.up(self.down(input))
        return answer


class FactorizedEmbedding(nn.Module):
    """A `table` (pieces, rank) and a Linear `up` (rank, width) in the place of a table (pieces, width)."""

    def __init__(self, vocab_size: int, width: int, rank: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.table, self.up = nn.Embedding(vocab_size, rank, padding_idx=padding_idx), nn.Linear(rank, width)

    @property
    def weight(self) -> torch.Tensor:
        """The rows that it answers, (pieces, width)."""
        rows: torch.Tensor = self.up(self.table.weight)
        return rows

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.up(self.table(ids))
        return rows


def word_table(model: PreTrainedModel) -> nn.Embedding:
    """The table with a row for each piece, whatever stands behind it; a copy of the rows where a network answers them."""
    embedding = model.get_input_embeddings()
    if isinstance(embedding, SpelledEmbedding):
        return embedding.as_table()
    table = embedding.table if isinstance(embedding, FactorizedEmbedding) else embedding
    assert isinstance(table, nn.Embedding)
    return table


def embedding_rank(model: PreTrainedModel) -> int | None:
    """The columns of a factorized word table; None where it is whole."""
    embedding = model.get_input_embeddings()
    return embedding.table.embedding_dim if isinstance(embedding, FactorizedEmbedding) else None


def ranks_of(model: nn.Module) -> dict[str, int]:
    """The rank of each Linear that is of low rank, by its name."""
    return {name: module.rank for name, module in model.named_modules() if isinstance(module, LowRankLinear)}


def reader_of(linear: Any) -> Any:
    """The Linear that reads the input: of one of low rank, its first."""
    return linear.down if isinstance(linear, LowRankLinear) else linear


def set_rank(model: nn.Module, name: str, rank: int) -> LowRankLinear:
    """Put a random Linear of low rank in the place of one, whose requires_grad it takes over."""
    old: Any = model.get_submodule(name)
    with torch.device(old.weight.device):
        new = LowRankLinear(old.in_features, old.out_features, rank)
    model.set_submodule(name, new.requires_grad_(old.weight.requires_grad))
    return new


def set_embedding_rank(model: PreTrainedModel, rank: int) -> FactorizedEmbedding:
    """Put a random factorized table in the place of the word table, whose requires_grad it takes over."""
    embedding, old = model.get_input_embeddings(), word_table(model)
    width = embedding.up.out_features if isinstance(embedding, FactorizedEmbedding) else old.embedding_dim
    with torch.device(old.weight.device):
        new = FactorizedEmbedding(old.num_embeddings, width, rank, old.padding_idx)
    model.set_input_embeddings(new.requires_grad_(old.weight.requires_grad))
    return new


def is_width(value: Any) -> bool:
    """Whether something read from a file is a width that a matrix may have."""
    return type(value) is int and 0 < value <= 1 << 20
