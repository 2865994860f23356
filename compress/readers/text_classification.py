"""One label for a text or a pair of texts; none where no label is probable enough, if the folder says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.readers.activations import softmax
from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.tokenizer_file import TOKENIZER


class Answer(TypedDict):
    """A label, None where none is probable enough; its probability, and those of all labels."""

    label: str | None
    score: float
    scores: dict[str, float]


class TextClassificationReader:
    """Reads outputs (labels,) as logits."""

    takes: Takes = "a text or a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)
        self._labels = folder.labels
        self._threshold = folder.facts.settled[0] if folder.facts.settled else 0.0

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the text, or the pair."""
        return [self._cutter.piece(item, cut)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> np.ndarray:
        """Keep the logits."""
        return outputs.copy()

    def scores(self, reduced: np.ndarray, *, raw: bool = False) -> list[tuple[str, float]]:
        """Each label's probability, or its logit."""
        return list(zip(self._labels, (reduced if raw else softmax(reduced)).tolist(), strict=True))

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[np.ndarray]) -> Answer:
        """The likeliest label."""
        scores = dict(self.scores(reduced[0]))
        label = max(scores, key=lambda name: scores[name])
        is_sure = scores[label] >= self._threshold
        return {"label": label if is_sure else None, "score": scores[label], "scores": scores}


READER = TextClassificationReader
