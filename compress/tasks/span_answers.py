"""Which part of a text a head for spans means, over the windows that a question and its text are read in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compress.runtimes.spans import LOW, best_spans
from compress.tasks.data.squad import Asked

NO_ANSWER = ""


@dataclass(frozen=True, eq=False)
class Windows:
    """What is true of the windows that questions and their contexts are read in.

    Args:
        owners: The question that each window is of, (windows,).
        offsets: Characters of the context that its tokens in a window stand at, (tokens, 2) each.
        positions: The first and the last token of the answer, counted in the window; 0, the first token, where the window
            does not hold it, (windows, 2).
        asked: What is known of each question.
        contexts: Of each question.
    """

    owners: np.ndarray
    offsets: Sequence[np.ndarray]
    positions: np.ndarray
    asked: Sequence[Asked]
    contexts: Sequence[str]

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each window's rows of answers end: one for the first token, and one for each token of the context."""
        return np.cumsum([1 + len(offsets) for offsets in self.offsets], dtype=np.int64)

    @property
    def firsts(self) -> np.ndarray:
        """The row of each window's first token."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    @property
    def some_have_none(self) -> bool:
        """Whether there are questions without an answer."""
        return not all(asked.answers for asked in self.asked)


@dataclass(frozen=True)
class Best:
    """The best of a question's spans: its text, its score, and how much more the first token scores than it."""

    text: str
    score: float
    without: float


def best_answers(answers: np.ndarray, targets: Windows) -> list[Best]:
    """The best span of each question, over all of its windows."""
    texts_of, scores = [NO_ANSWER] * len(targets.asked), np.full(len(targets.asked), -np.inf)
    without = np.full(len(targets.asked), np.inf)
    parts = np.split(answers, targets.ends[:-1])
    for owner, offsets, rows in zip(targets.owners.tolist(), targets.offsets, parts, strict=True):
        without[owner] = min(without[owner], float(rows[0].sum()))
        for span in best_spans(rows[1:, 0], rows[1:, 1]):
            if span.score > scores[owner]:
                scores[owner] = span.score
                texts_of[owner] = targets.contexts[owner][offsets[span.first, 0] : offsets[span.last, 1]]
    return [Best(*best) for best in zip(texts_of, scores.tolist(), (without - scores).tolist(), strict=True)]


def said_of(answers: np.ndarray, targets: Windows) -> list[str]:
    """What is answered to each question; of answers that were not settled none where the first token scores more, if there are
    questions without an answer."""
    least, best = 0.0 if targets.some_have_none else np.inf, best_answers(answers, targets)
    return [NO_ANSWER if span.without > least or span.score < LOW / 2 else span.text for span in best]
