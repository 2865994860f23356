"""From the answers of a head for spans to the parts of a text that answer a question. numpy alone.

Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 4.2 (start plus end, end not before start) and 4.3 (the score of no
answer is that of the first token).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

BEST = 20
"""Starts and ends of a window that are put together."""
LONGEST_ANSWER = 30
"""Tokens."""
LOW = -1e9
"""Below what any head answers."""


class Span(NamedTuple):
    """A part of a text: its first token and its last, among those that may answer, and what the head says of it."""

    score: float
    first: int
    last: int


def best_spans(start: np.ndarray, end: np.ndarray, *, count: int = 1, longest: int = LONGEST_ANSWER) -> list[Span]:
    """Find the spans whose start and end score most together, best first.

    Args:
        start: What the head says of each token that may answer as the answer's first, (tokens,).
        end: The same as its last.
        count: Spans wanted.
        longest: Tokens of an answer at most.
    """
    firsts, lasts = (
        np.sort(np.argpartition(-logits, min(BEST, len(logits)) - 1)[:BEST]) if len(logits) else np.zeros(0, int)
        for logits in (start, end)
    )
    sizes = lasts[None, :] - firsts[:, None] + 1
    scores = np.where((sizes >= 1) & (sizes <= longest), start[firsts][:, None] + end[lasts][None, :], -np.inf)
    order = np.argsort(-scores, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(order, scores.shape)
    return [
        Span(float(scores[row, column]), int(firsts[row]), int(lasts[column]))
        for row, column in zip(rows, columns, strict=True)
        if np.isfinite(scores[row, column])
    ]


def shortened(question: str, encoding: Any, longest: int) -> str:
    """A question of at most so many tokens; `encoding` is its own, without special tokens."""
    return question[: encoding.offsets[longest - 1][1]] if len(encoding.ids) > longest else question


def stride_of(max_length: int, special: int) -> tuple[int, int]:
    """How a question and its text share a window of `max_length` tokens.

    Args:
        max_length: Of a window.
        special: Tokens that a tokenizer adds to a pair.

    Returns:
        The most tokens of a question, 64 as in BERT or half of a window; and the tokens of the text that a window shares with
        the one before, 128 as in BERT or a third of what a window holds beside such a question.
    """
    question = max(1, min(64, (max_length - special) // 2))
    return question, max(0, min(128, (max_length - special - question) // 3))
