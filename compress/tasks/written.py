"""Texts that a model is to write: their token ids, as they are learned, and what ids that it has written say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compress.models.writer_tokenizer import ends_of, writer_of
from compress.runtimes.text_writer import text_of
from compress.runtimes.writing import GIVEN, GIVEN_MASK, Search

NOT_LEARNED = -100
AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Written:
    """The texts that are right, one for each example.

    Args:
        texts: As people wrote them.
        ids: Their tokens, the one that ends them included; cut where there are too many.
        tokenizer: Of what is written.
        search: Tells the tokens that texts begin behind, end with and are padded by.
        truncated: Texts that were cut.
    """

    texts: tuple[str, ...]
    ids: list[list[int]]
    tokenizer: Any
    search: Search
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, (examples,)."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    def batch(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """What is read while some texts are learned: each shifted behind the token that begins it, (texts, tokens)."""
        rows = [[self.search.begin, *self.ids[index][:-1]] for index in indices]
        shape = (len(rows), max(map(len, rows)))
        ids, mask = np.full(shape, self.search.padding, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return {GIVEN: ids, GIVEN_MASK: mask}

    def targets(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The tokens that are learned, (texts, tokens), NOT_LEARNED behind a text."""
        rows = [self.ids[index] for index in indices]
        targets = np.full((len(rows), max(map(len, rows))), NOT_LEARNED, dtype=np.int64)
        for number, row in enumerate(rows):
            targets[number, : len(row)] = row
        return targets

    def said(self, answers: np.ndarray) -> list[str]:
        """The texts that rows of ids stand for, (texts, longest)."""
        backend = self.tokenizer.backend_tokenizer
        return [text_of(backend, ids, self.search) for ids in answers.astype(np.int64).tolist()]


def as_targets(texts: Sequence[str]) -> np.ndarray:
    """Texts to write as the targets of a part, (texts,)."""
    targets = np.empty(len(texts), dtype=object)
    targets[:] = list(texts)
    return targets


def written(texts: Sequence[str], tokenizer: Any, longest: int) -> Written:
    """Turn texts into token ids.

    Args:
        texts: To be learned, or that answers are compared with.
        tokenizer: Of a model that writes.
        longest: Tokens of each at most; fewer where the decoder has fewer positions.

    Raises:
        InputError: The tokenizer has no token to begin or to end with.
    """
    writer = writer_of(tokenizer)
    begin, end, padding = ends_of(writer)
    most = min(longest, writer.model_max_length)
    rows: list[list[int]] = []
    for start in range(0, len(texts), AT_ONCE):
        part = [text.strip() for text in texts[start : start + AT_ONCE]]
        rows += writer(part, add_special_tokens=False, verbose=False)["input_ids"] if part else []
    cut = sum(len(row) >= most for row in rows)
    ids = [[*row[: most - 1], end] for row in rows]
    return Written(tuple(texts), ids, writer, Search(begin, end, padding, most), cut)
