"""The entities of a text with the characters that they stand at, or each word with its tag; the text may have any length.

The first piece of a word answers for it. A text that is longer than the model reads is read in windows that overlap, in which
each word is answered where it stands farthest from the edges, as `compress.tasks.token_classification` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from typing_extensions import TypedDict

from compress.readers.activations import softmax
from compress.readers.cutting import Cutter, refuse_endless
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes, piece_of
from compress.runtimes.tokenizer_file import TOKENIZER
from compress.tasks.tags import entities, is_bio
from compress.tasks.windows import windows_of

Words = list[tuple[int, int]]
"""The characters that each word stands at."""


class Span(TypedDict):
    """A part of the text and its label, with the mean of its words' probabilities."""

    label: str
    text: str
    start: int
    end: int
    score: float


class Answer(TypedDict):
    """The entities, or where the labels tell none (no B- and I-) the words."""

    spans: list[Span]


class Place(NamedTuple):
    """Where a window stands: its first character, and which of its words answer, from one to before another."""

    start: int = 0
    answers: int = 0
    answered: int | None = None


class TokenClassificationReader:
    """Reads outputs (tokens, labels) as logits."""

    takes: Takes = "a text"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)
        self._labels = folder.labels
        self._room = max(1, folder.max_length - self._cutter.whole.num_special_tokens_to_add(False))

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """The windows; nothing is cut."""
        refuse_endless(item.text)
        encoding = self._cutter.whole.encode(item.text)
        if len(encoding) <= self._cutter.longest:
            return [piece_of(encoding, keep=True, place=Place())]
        words, counts = _words_of(encoding), np.bincount([word for word in encoding.word_ids if word is not None])
        pieces = []
        for window in windows_of(0, np.minimum(counts[counts > 0], self._room), self._room):
            start, end = words[window.first][0], words[window.end - 1][1]
            place = Place(start, window.answers - window.first, window.answered - window.first)
            pieces.append(piece_of(self._cutter.cut["right"].encode(item.text[start:end]), keep=True, place=place))
        return pieces

    def reduce(self, piece: Piece, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep the label and the probability of each word, by its first piece, (words,) each."""
        words = piece.encoding.word_ids
        firsts = [
            place for place, word in enumerate(words) if word is not None and word not in words[max(0, place - 1) : place]
        ]
        probabilities = softmax(outputs[firsts])
        return probabilities.argmax(axis=1), probabilities.max(axis=1)

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[tuple[np.ndarray, np.ndarray]]) -> Answer:
        """The entities or the words of all windows."""
        words: Words = []
        tags: list[str] = []
        scores: list[float] = []
        for piece, (labels, probabilities) in zip(pieces, reduced, strict=True):
            place: Place = piece.place
            answering = slice(place.answers, place.answered)
            words += [(first + place.start, end + place.start) for first, end in _words_of(piece.encoding)[answering]]
            tags += [self._labels[label] for label in labels[answering]]
            scores += probabilities[answering].tolist()
        if is_bio(self._labels):
            spans = sorted((first, end, kind) for kind, first, end in entities(tags))
        else:
            spans = [(word, word + 1, tag) for word, tag in enumerate(tags)]
        return {"spans": [_span(item.text, words, scores, *span) for span in spans]}


def _words_of(encoding: object) -> Words:
    """The characters that words stand at, in their order."""
    places: dict[int, tuple[int, int]] = {}
    for word, (first, end) in zip(encoding.word_ids, encoding.offsets, strict=True):  # type: ignore[attr-defined]
        if word is not None:
            places[word] = (places.get(word, (first, end))[0], end)
    return list(places.values())


def _span(text: str, words: Words, scores: list[float], first: int, end: int, label: str) -> Span:
    start, stop = words[first][0], words[end - 1][1]
    return {
        "label": label,
        "text": text[start:stop],
        "start": start,
        "end": stop,
        "score": sum(scores[first:end]) / (end - first),
    }


READER = TokenClassificationReader
