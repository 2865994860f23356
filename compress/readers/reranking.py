"""One score for a query with a passage, by which the passages of a query are put into order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.readers.activations import sigmoid
from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.tokenizer_file import TOKENIZER


class Answer(TypedDict):
    """The passage's score for the query, by the activation that the folder states."""

    score: float


class RerankingReader:
    """Reads outputs (1,) as a logit."""

    takes: Takes = "a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)
        self._name = folder.labels[0] if folder.labels else "LABEL_0"
        stated = folder.config.get("sentence_transformers") or {}
        self._is_activated = str(stated.get("activation_fn", "Sigmoid")).endswith("Sigmoid")

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the query and the passage."""
        return [self._cutter.piece(item, cut)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> np.ndarray:
        """Keep the logit, (1,)."""
        return outputs.copy()

    def scores(self, reduced: np.ndarray, *, raw: bool = False) -> list[tuple[str, float]]:
        """The score under the output's name."""
        return [(self._name, self.rank(reduced, raw=raw))]

    def rank(self, reduced: np.ndarray, *, raw: bool = False) -> float:
        """The logit's sigmoid, or the logit."""
        return float((reduced if raw else sigmoid(reduced))[0])

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[np.ndarray]) -> Answer:
        """The score as the folder says that it is made."""
        return {"score": self.rank(reduced[0], raw=not self._is_activated)}


READER = RerankingReader
