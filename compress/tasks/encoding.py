"""Sentences as token ids, unpadded until they are put into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compress.errors import InputError
from compress.tasks.split import Role, Split
from compress.tasks.tokenizing import tokenized


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of a split.

    Args:
        input_ids: One list per example, special tokens included.
        token_type_ids: The same, 0 for the first sentence and 1 for the second; None if the tokenizer gives none.
        labels: Label ids, (examples,).
        truncated: Examples that were longer than allowed and lost their end.
        pad_token_id: Fills batches up.
        role: The split's.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    labels: np.ndarray
    truncated: int
    pad_token_id: int
    role: Role

    def __len__(self) -> int:
        return len(self.input_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, (examples,)."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    def over(self, pieces: np.ndarray) -> Encoded:
        """The same examples with ids that are places in `pieces`, rising ids of all that they hold."""
        place = {piece: number for number, piece in enumerate(pieces.tolist())}
        ids = [[place[piece] for piece in row] for row in self.input_ids]
        return replace(self, input_ids=ids, pad_token_id=place[self.pad_token_id])

    def batch(self, indices: Sequence[int] | np.ndarray, pad_to: int | None = None) -> dict[str, np.ndarray]:
        """Pad some examples to the longest of them, or to `pad_to` tokens; int64 arrays of (examples, length)."""
        rows = [self.input_ids[index] for index in indices]
        shape = (len(rows), max(pad_to or 0, *(len(row) for row in rows), 1))
        ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if self.token_type_ids is not None:
            types = np.zeros(shape, dtype=np.int64)
            for number, index in enumerate(indices):
                types[number, : len(rows[number])] = self.token_type_ids[index]
            batch["token_type_ids"] = types
        return batch


def read_by(*parts: Encoded) -> np.ndarray:
    """The ids that stand in these examples, the padding's included, rising, (pieces,)."""
    held = {part.pad_token_id for part in parts}
    return np.array(sorted(held.union(*(row for part in parts for row in part.input_ids))), dtype=np.int64)


def encode(split: Split, tokenizer: Any, max_length: int) -> Encoded:
    """Turn a split into token ids, cutting examples that are longer than `max_length` tokens.

    Raises:
        InputError: The tokenizer has no token to pad with.
    """
    if tokenizer.pad_token_id is None:
        raise InputError("the tokenizer has no padding token; set pad_token in its tokenizer_config.json.")
    texts = [text.strip() for text in split.texts]
    pairs = None if split.pairs is None else [text.strip() for text in split.pairs]
    told = tokenized(tokenizer, texts, pairs, max_length)
    return Encoded(told.input_ids, told.token_type_ids, split.labels, told.truncated, tokenizer.pad_token_id, split.role)
