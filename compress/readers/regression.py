"""One score for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.tokenizer_file import TOKENIZER


class Answer(TypedDict):
    """The score, in the units that the model has learned."""

    score: float


class RegressionReader:
    """Reads outputs (1,) as the score itself."""

    takes: Takes = "a text or a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)
        self._name = folder.labels[0] if folder.labels else "score"

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the text, or the pair."""
        return [self._cutter.piece(item, cut)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> float:
        """Keep the number."""
        return float(outputs[0])

    def scores(self, reduced: float, *, raw: bool = False) -> list[tuple[str, float]]:
        """The score, which is no probability either way."""
        return [(self._name, reduced)]

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[float]) -> Answer:
        """The score."""
        return {"score": reduced[0]}


READER = RegressionReader
