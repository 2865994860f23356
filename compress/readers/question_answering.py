"""The part of a text that answers a question; the text may have any length, and is read in windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.readers.cutting import refuse_endless
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes, piece_of
from compress.runtimes.question_reader import QuestionWindows, answers_in
from compress.runtimes.tokenizer_file import TOKENIZER


class Answer(TypedDict):
    """The part, the characters that it stands at and what the model says of it; None for all where there is no answer."""

    answer: str | None
    start: int | None
    end: int | None
    score: float | None


class QuestionAnsweringReader:
    """Reads outputs (tokens, 2) as the logits of the first and the last token; an item is a question and a text."""

    takes: Takes = "a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._windows = QuestionWindows(folder.path / TOKENIZER, folder.max_length)
        self._threshold = folder.facts.settled[0] if folder.facts.settled else np.inf

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """The windows; nothing is cut but a question that leaves no room."""
        refuse_endless(item.text + (item.pair or ""))
        return [piece_of(window, keep=True) for window in self._windows.of(item.text, item.pair or "")]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> np.ndarray:
        """Keep the logits, (tokens, 2)."""
        return outputs[: len(piece)].copy()

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[np.ndarray]) -> Answer:
        """The best of the windows' best, unless they say more that there is none."""
        windows = zip(pieces, reduced, strict=True)
        parts = [part for piece, logits in windows for part in answers_in(piece.encoding, logits, item.pair or "", 1)]
        best = max(parts, key=lambda part: part.score, default=None)
        if best is None or min(float(logits[0].sum()) for logits in reduced) - best.score > self._threshold:
            return {"answer": None, "start": None, "end": None, "score": None}
        return {"answer": best.text, "start": best.start, "end": best.end, "score": best.score}


READER = QuestionAnsweringReader
