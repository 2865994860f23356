"""Windows of words for texts that are longer than a model reads, so that every word is answered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

OVERLAP = 4
"""Windows share a quarter of their words."""


@dataclass(frozen=True)
class Window:
    """A part of a text: its words from `first` to before `end`, of which those from `answers` to before `answered` answer."""

    text: int
    first: int
    end: int
    answers: int
    answered: int


def windows_of_words(words: Sequence[Sequence[str]], tokenizer: Any, max_length: int) -> list[Window]:
    """Cut texts into windows of at most `max_length` tokens, special ones included."""
    room = max(1, max_length - tokenizer.num_special_tokens_to_add(False))
    windows = []
    for start in range(0, len(words), 1000):
        part = [list(sentence) for sentence in words[start : start + 1000]]
        encoded = tokenizer(part, is_split_into_words=True, add_special_tokens=False, verbose=False)
        for text, encoding in enumerate(encoded.encodings, start):
            counts = np.bincount([word for word in encoding.word_ids if word is not None], minlength=len(words[text]))
            windows += windows_of(text, np.minimum(np.maximum(counts, 1), room), room)
    return windows


def windows_of(text: int, counts: np.ndarray, room: int) -> list[Window]:
    """Windows of at most `room` pieces; each word answers in the one where it stands farthest from the edges.

    Args:
        text: Its number.
        counts: The pieces of each of its words, 1 to `room`.
        room: Of a window.
    """
    ends, first, bounds = np.cumsum(counts), 0, []
    while True:
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + room, side="right")))
        bounds.append((first, end))
        if end >= len(counts):
            break
        first = max(first + 1, end - max(1, (end - first) // OVERLAP))
    middles = [0, *((later + end) // 2 for (_, end), (later, _) in pairwise(bounds)), len(counts)]
    return [Window(text, first, end, middles[at], middles[at + 1]) for at, (first, end) in enumerate(bounds)]


def places_of_words(word_ids: Sequence[int | None], window: Window) -> np.ndarray:
    """The first piece of each word that answers; of one without pieces, that of the word before, or the first token."""
    firsts: dict[int, int] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            firsts.setdefault(word, place)
    places, before = [], 0
    for word in range(window.first, window.answered):
        before = firsts.get(word - window.first, before)
        if word >= window.answers:
            places.append(before)
    return np.array(places, dtype=np.int64)
