"""Answer questions about texts of any length with an exported folder. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compress.errors import InputError, shown
from compress.facts import read_facts
from compress.runtimes.runtime import LOGITS
from compress.runtimes.spans import best_spans, shortened, stride_of
from compress.runtimes.table import load_runtime, settings_of
from compress.runtimes.tokenizer_file import TOKENIZER, padded, read_tokenizer, unreadable

KIND = "question-answering"
WINDOWS_AT_ONCE = 16
LENGTH = 384
"""Tokens of a window where nothing tells."""


class Answer(NamedTuple):
    """A part of a text that answers a question.

    Args:
        text: The part.
        start: The character of the whole text that it begins at.
        end: The one behind its last.
        score: What the model says of its first and of its last token together; of one question, larger is surer.
    """

    text: str
    start: int
    end: int
    score: float


class QuestionWindows:
    """Cuts a question and a text into windows of at most so many tokens, which overlap; the question stands in each.

    Raises:
        InputError: The file of the tokenizer is damaged, or windows are too short for it.
    """

    def __init__(self, path: Path, max_length: int) -> None:
        self._tokenizer = read_tokenizer(path)
        try:
            self._longest, stride = stride_of(max_length, self._tokenizer.num_special_tokens_to_add(True))
            self._tokenizer.enable_truncation(max_length, stride=stride, strategy="only_second")
        except Exception as err:  # tokenizers raises Exception itself
            raise unreadable(path, err) from err

    def of(self, question: str, text: str) -> list[Any]:
        """The windows, as encodings of the `tokenizers` library; at least one."""
        question = shortened(question, self._tokenizer.encode(question, add_special_tokens=False), self._longest)
        encoding = self._tokenizer.encode(question, text)
        return [encoding, *encoding.overflowing]


def answers_in(window: Any, logits: np.ndarray, text: str, count: int) -> list[Answer]:
    """The best answers that stand in one window.

    Args:
        window: Its encoding.
        logits: What the model says of its tokens, (tokens or more, 2).
        text: The whole that the window is of.
        count: Answers wanted.
    """
    inside, places = [place for place, sequence in enumerate(window.sequence_ids) if sequence == 1], window.offsets
    offsets = [places[place] for place in inside]
    spans = []
    for span in best_spans(logits[inside, 0], logits[inside, 1], count=count):
        first, last = offsets[span.first][0], offsets[span.last][1]
        spans.append(Answer(text[first:last], first, last, span.score))
    return spans


def apart(answers: list[Answer]) -> list[Answer]:
    """The answers, the surest first; of those that share characters only the surest."""
    chosen: list[Answer] = []
    for answer in sorted(answers, key=lambda answer: -answer.score):
        if all(answer.end <= other.start or answer.start >= other.end for other in chosen):
            chosen.append(answer)
    return chosen


class QuestionReader:
    """Finds answers to questions in texts, which are read in windows that overlap.

    Args:
        folder: That a model for question-answering was exported to.
        runtime: "onnxruntime", "openvino", or another; see `bert-compress list runtimes`.
        threads: Of the runtime; 0 is one per core.
        max_length: Tokens of a window; None takes what the folder was exported for.

    Raises:
        InputError: The folder holds no such model, or what it tells of itself or its tokenizer is damaged.
    """

    def __init__(
        self, folder: str | Path, *, runtime: str = "onnxruntime", threads: int = 0, max_length: int | None = None
    ) -> None:
        folder = Path(folder)
        facts = read_facts(folder)
        if facts.kind != KIND:
            raise InputError(f"{folder} holds no model for {KIND}, but for {facts.kind}; export one that has learned it.")
        opened = load_runtime(runtime)
        self._session = opened.open(opened.place(folder), threads=threads, **settings_of(opened, facts))
        self._threshold = facts.settled[0] if facts.settled else np.inf
        self._windows = QuestionWindows(folder / TOKENIZER, max_length or facts.max_length or LENGTH)

    def answer(self, question: str, text: str) -> Answer | None:
        """The best answer; None where the model says that the text has none.

        Raises:
            InputError: One of the two is empty.
        """
        answers, without = self._read(question, text, 1)
        if not answers or without - answers[0].score > self._threshold:
            return None
        return answers[0]

    def best(self, question: str, text: str, count: int = 5) -> list[Answer]:
        """The best answers, the surest first, whether or not the model says that there is one; of those that share characters
        only the surest.

        Raises:
            InputError: One of the two is empty, or `count` is below 1.
        """
        if count < 1:
            raise InputError(f"count is {count}; ask for 1 answer or more.")
        return self._read(question, text, count)[0]

    def _read(self, question: str, text: str, count: int) -> tuple[list[Answer], float]:
        """The best answers, and what the model says of there being none."""
        for name, value in (("question", question), ("text", text)):
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"the {name} is {shown(value)}; give a text that is not empty.")
        windows = self._windows.of(question, text)
        spans: list[Answer] = []
        without = np.inf
        for start in range(0, len(windows), WINDOWS_AT_ONCE):
            part = windows[start : start + WINDOWS_AT_ONCE]
            for window, logits in zip(part, self._session.run(padded(part))[LOGITS], strict=True):
                without = min(without, float(logits[0].sum()))
                spans += answers_in(window, logits, text, 4 * count)
        return apart(spans)[:count], without
