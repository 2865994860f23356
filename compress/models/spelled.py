"""A small network in the place of a word table, which reads how each piece is spelled, by letters or by their pictures.

What a piece is spelled with never changes, so that the rows that the network answers for all pieces are a table again in every
file that is exported: it costs nothing there, and the answers are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

LETTER_WIDTH = 16
CODES = 256
BEGIN, INSIDE, END, SPECIAL = 0xF8, 0xF9, 0xFA, 0xFB  # bytes that UTF-8 does not have; 0 is none
PORTION = 1024  # pieces at a time where all rows are computed


class LetterNetwork(nn.Module):
    """Convolutions over the bytes of a piece, their maxima, highway layers, and a Linear.

    Source: Kim et al. 2016, arXiv 1508.06615, section 2; Peters et al. 2018, ELMo, arXiv 1802.05365, section 3 and
    https://github.com/allenai/allennlp/blob/main/allennlp/modules/elmo.py (Apache-2.0): vectors of 16 numbers, ReLU, highways
    that carry at first.

    Args:
        pieces: How many there are.
        width: Of a row.
        sizes: `longest` (bytes of a piece, marks included), `filters` (widths with counts), `highways`.
    """

    def __init__(self, pieces: int, width: int, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.spellings: torch.Tensor
        total = sum(count for _, count in sizes["filters"])
        self.register_buffer("spellings", torch.zeros(pieces, sizes["longest"]))
        self.letters = nn.Embedding(CODES, LETTER_WIDTH, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(LETTER_WIDTH, count, reach) for reach, count in sizes["filters"])
        highways = [nn.Linear(total, 2 * total) for _ in range(sizes["highways"])]
        for highway in highways:
            nn.init.constant_(highway.bias[total:], -1.0)
        self.highways = nn.ModuleList(highways)
        self.project = nn.Linear(total, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of these pieces, (pieces, width)."""
        vectors = self.letters(self.spellings[ids].long()).transpose(1, 2)
        values = torch.cat([torch.relu(convolution(vectors)).amax(2) for convolution in self.convolutions], 1)
        for highway in self.highways:
            other, gate = highway(values).chunk(2, 1)
            gate = gate.sigmoid()
            values = gate * torch.relu(other) + (1 - gate) * values
        rows: torch.Tensor = self.project(values)
        return rows


class GlyphNetwork(nn.Module):
    """Convolutions over pictures of a piece's characters, down to four fields of each, a Linear, and the characters' mean.

    Source: Meng et al. 2019, Glyce, arXiv 1901.10125, section 3.2 (pictures of characters, and a CNN that ends in the 2 x 2
    fields of the grid in which Chinese characters are learned, Tianzige).
    Differs: one font, 3 x 3 filters in three steps in the place of a 5 x 5 one and grouped ones; several characters are
    averaged, and a piece inside a word has a vector that is added.

    Args:
        pieces: How many there are.
        width: Of a row.
        sizes: `longest` (characters of a piece), `pictures` (of characters), `size` (pixels of a side), `channels` (of the
            last convolution).
    """

    def __init__(self, pieces: int, width: int, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.pictures: torch.Tensor
        self.spellings: torch.Tensor
        size, channels = sizes["size"], sizes["channels"]
        self.register_buffer("pictures", torch.zeros(sizes["pictures"] + 1, size, size))
        self.register_buffer(
            "spellings", torch.zeros(pieces, sizes["longest"] + 1)
        )  # whether inside a word, and its characters
        steps = [(1, channels // 4), (channels // 4, channels // 2), (channels // 2, channels)]
        self.convolutions = nn.ModuleList(nn.Conv2d(*step, 3, padding=1) for step in steps)
        self.project = nn.Linear(4 * channels, width)
        self.inside = nn.Embedding(2, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of these pieces, (pieces, width)."""
        spelled = self.spellings[ids].long()
        used, places = torch.unique(spelled[:, 1:], return_inverse=True)
        values = self.pictures[used][:, None]
        for convolution in self.convolutions[:-1]:
            values = nn.functional.max_pool2d(torch.relu(convolution(values)), 2)
        values = nn.functional.adaptive_max_pool2d(torch.relu(self.convolutions[-1](values)), 2)
        vectors = self.project(values.flatten(1)) * (used > 0)[:, None]
        mean = nn.functional.embedding(places, vectors).sum(1) / (spelled[:, 1:] > 0).sum(1, keepdim=True).clamp(min=1)
        rows: torch.Tensor = mean + self.inside(spelled[:, 0])
        return rows


NETWORKS: dict[str, type[LetterNetwork] | type[GlyphNetwork]] = {"letters": LetterNetwork, "glyphs": GlyphNetwork}


class SpelledEmbedding(nn.Module):
    """Stands where a word table (pieces, width) stood.

    Args:
        pieces: How many there are.
        width: Of a row.
        sizes: `by`, a key of NETWORKS, and what that network asks for.
        padding_idx: Of the table.
    """

    def __init__(self, pieces: int, width: int, sizes: Mapping[str, Any], padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = pieces, width, padding_idx
        self.sizes = dict(sizes)
        self.network = NETWORKS[sizes["by"]](pieces, width, sizes)

    @property
    def weight(self) -> torch.Tensor:
        """The rows that it answers, (pieces, width)."""
        every = torch.arange(self.num_embeddings, device=self.network.project.weight.device)
        return torch.cat([self.network(every[start : start + PORTION]) for start in range(0, len(every), PORTION)])

    @torch.no_grad()
    def as_table(self) -> nn.Embedding:
        """The rows as a table."""
        table = nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, device="meta")
        table.weight = nn.Parameter(self.weight)
        return table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of these ids, each computed once."""
        used, places = torch.unique(ids, return_inverse=True)
        return nn.functional.embedding(places, self.network(used))


def spelled_of(model: Any) -> SpelledEmbedding | None:
    """The network in the place of a model's word table; None where it has a table."""
    embedding = model.get_input_embeddings()
    return embedding if isinstance(embedding, SpelledEmbedding) else None


def set_spelled(model: PreTrainedModel, sizes: Mapping[str, Any]) -> SpelledEmbedding:
    """Put a random network in the place of a model's word table."""
    old: Any = model.get_input_embeddings()
    with torch.device(old.weight.device):
        new = SpelledEmbedding(old.num_embeddings, old.embedding_dim, sizes, old.padding_idx)
    model.set_input_embeddings(new)
    return new


def fold_spelling(model: PreTrainedModel) -> None:
    """Let a model have the rows as a table, in place; one that has a table stays as it is."""
    spelled = spelled_of(model)
    if spelled is not None:
        model.set_input_embeddings(spelled.as_table())


@contextlib.contextmanager
def spelling_folded(model: PreTrainedModel) -> Iterator[None]:
    """The same for a while."""
    spelled = spelled_of(model)
    fold_spelling(model)
    try:
        yield
    finally:
        if spelled is not None:
            model.set_input_embeddings(spelled)


def letters_of(tokens: Sequence[str], special: frozenset[str], inside: str, longest: int) -> list[list[int]]:
    """The bytes of tokens with marks at both ends, padded to the longest of them, which are cut to so many.

    Args:
        tokens: By their ids.
        special: Those of them that are no text.
        inside: What tokens begin with that continue a word; empty where none do.
        longest: Bytes of one at most, marks included.
    """
    rows = []
    for token in tokens:
        continues = bool(inside) and token.startswith(inside) and token not in special
        mark = SPECIAL if token in special else INSIDE if continues else BEGIN
        text = token.removeprefix(inside) if continues else token
        rows.append([mark, *text.encode()[: longest - 2], END])
    most = max(map(len, rows))
    return [[*row, *[0] * (most - len(row))] for row in rows]
