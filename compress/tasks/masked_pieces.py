"""Pieces of texts that are masked, the same ones for every model that reads them with one tokenizer.

A text is cut into windows of as many tokens as a model reads, so that none of it is lost. Where it is measured, each window is
read up to seven times, and every seventh piece is masked in each pass, another one in turn: after seven passes each piece was
masked once, with six in seven of the others to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compress.errors import InputError
from compress.tasks.tokenizing import portions_of

EVERY = 7
"""1 / 0.15, of a pass: as much of a text is masked as in training."""
ENOUGH = 60_000
"""Tokens that are read to measure a model: with so few texts that seven passes are no more, each piece is masked once; of more
texts, fewer are masked in each."""
AT_ONCE = 1000
KEPT = 2
"""Columns of what is kept of the answer at a masked place: the logarithm of the true piece's probability, and the likeliest
piece's id, which is a whole number that float32 holds."""


@dataclass(frozen=True)
class Window:
    """A part of a text: its tokens, special ones included, and the places that may be masked."""

    text: int
    ids: list[int]
    types: list[int]
    places: np.ndarray


@dataclass(frozen=True, eq=False)
class MaskedPieces:
    """What stands at the places that are masked.

    Args:
        ids: Of each example the pieces, one for each of its places.
        owners: The text that each example is of, (examples,).
        texts: How many texts there are.
        tokenizer: Whose pieces they are.
    """

    ids: list[np.ndarray]
    owners: np.ndarray
    texts: int
    tokenizer: Any

    def __len__(self) -> int:
        return self.texts

    @cached_property
    def flat(self) -> np.ndarray:
        """All pieces, one example after the other."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.ids])

    def of(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The pieces of some examples."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(self.ids[index] for index in indices)])

    @cached_property
    def owner(self) -> np.ndarray:
        """The text that each piece is of."""
        return np.repeat(self.owners, [len(ids) for ids in self.ids])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum what is known of each piece over the texts, (texts,)."""
        return np.bincount(self.owner, values, self.texts)

    def statistics(self, answers: np.ndarray) -> np.ndarray:
        """For each text the sum of -log p of its masked pieces, how many of them are the likeliest, and how many there are,
        (texts, 3)."""
        columns = (-answers[:, 0], answers[:, 1] == self.flat, np.ones(len(answers)))
        return np.stack([self.sums(column) for column in columns], 1)

    def spelled(self, pieces: np.ndarray) -> str:
        """Pieces in a row, as people read them."""
        return " ".join(self.tokenizer.convert_ids_to_tokens([int(piece) for piece in pieces]))


def kept(logits: np.ndarray, true: np.ndarray) -> np.ndarray:
    """What is kept of the answers at masked places, (places, KEPT).

    Args:
        logits: (places, pieces).
        true: The pieces that are masked there, (places,).

    Raises:
        InputError: There are answers for fewer pieces.
    """
    if len(true) and true.max() >= logits.shape[1]:
        raise InputError(
            f"the model answers for {logits.shape[1]} pieces, but its tokenizer has a piece with the number {true.max()}; "
            "restore the tokenizer that belongs to the model."
        )
    values = logits.astype(np.float32, copy=False)
    highest = values.max(1, keepdims=True)
    total = np.exp(values - highest).sum(1, dtype=np.float64)
    own = values[np.arange(len(values)), true].astype(np.float64) - highest[:, 0]
    return np.stack([own - np.log(total), values.argmax(1)], 1).astype(np.float32)


def windows_of(texts: Sequence[str], tokenizer: Any, max_length: int) -> Iterator[Window]:
    """Cut texts into windows of at most `max_length` tokens, special ones included, one behind the other."""
    fixed = np.array(sorted({*tokenizer.all_special_ids}), dtype=np.int64)
    for start in range(0, len(texts), AT_ONCE):
        parts = [(text, part) for text in range(start, min(start + AT_ONCE, len(texts))) for part in portions_of(texts[text])]
        encoded = tokenizer(
            [part.strip() for _, part in parts],
            truncation=True,
            max_length=max_length,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
            return_attention_mask=False,
            verbose=False,
        )
        samples = encoded["overflow_to_sample_mapping"]
        for ids, types, sample in zip(encoded["input_ids"], encoded["token_type_ids"], samples, strict=True):
            places = np.flatnonzero(~np.isin(ids, fixed))
            if len(places):
                yield Window(parts[sample][0], list(ids), list(types), places)


def passes_over(windows: Sequence[Window], *, measures: bool) -> int:
    """How often each window is read: once, or where a model is measured up to seven times."""
    tokens = sum(len(window.ids) for window in windows)
    return min(EVERY, max(1, ENOUGH // max(1, tokens))) if measures else 1


def masked(windows: Sequence[Window], passes: int, mask: int) -> Iterator[tuple[Window, list[int], np.ndarray]]:
    """Each window as often as it is read, with its ids then and the places that are masked."""
    for number, window in enumerate(windows):
        step = min(EVERY, len(window.places))
        for turn in range(min(passes, step)):
            places, ids = window.places[(number + turn) % step :: step], window.ids.copy()
            for place in places:
                ids[place] = mask
            yield window, ids, places


def mask_of(tokenizer: Any) -> int:
    """The id of the token that masks.

    Raises:
        InputError: The tokenizer has none.
    """
    if tokenizer.mask_token_id is None:
        raise InputError(
            "the tokenizer has no token that masks words; start from a checkpoint that was pre-trained with masked words, or "
            "set mask_token in its tokenizer_config.json."
        )
    mask: int = tokenizer.mask_token_id
    return mask
