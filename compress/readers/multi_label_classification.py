"""Several labels for a text or a pair of texts, or none: those whose probability is above the folder's threshold for them."""

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
    """The labels that stand, and the probability of each."""

    labels: list[str]
    scores: dict[str, float]


class MultiLabelReader:
    """Reads outputs (labels,) as logits, each for itself."""

    takes: Takes = "a text or a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)
        self._labels = folder.labels
        self._thresholds = folder.facts.settled or (0.5,) * len(self._labels)

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the text, or the pair."""
        return [self._cutter.piece(item, cut)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> np.ndarray:
        """Keep the logits."""
        return outputs.copy()

    def scores(self, reduced: np.ndarray, *, raw: bool = False) -> list[tuple[str, float]]:
        """Each label's probability, or its logit."""
        return list(zip(self._labels, (reduced if raw else sigmoid(reduced)).tolist(), strict=True))

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[np.ndarray]) -> Answer:
        """The labels above their thresholds."""
        scores = self.scores(reduced[0])
        standing = zip(scores, self._thresholds, strict=True)
        return {"labels": [name for (name, score), least in standing if score > least], "scores": dict(scores)}


READER = MultiLabelReader
