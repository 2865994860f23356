"""Questions with their answers in a text: the JSON of SQuAD 1.1 and 2.0, and rows as data sets on the hub have them.

Source: Rajpurkar et al. 2016, SQuAD, arXiv 1606.05250; Rajpurkar et al. 2018, SQuAD 2.0, arXiv 1806.03822.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.objects import read_document
from compress.tasks.data.rows import Rows, Table, Taken, check_names, column_of

USUAL = {
    "text": ("question", ("question", "questions", "query", "text")),
    "pair": ("context", ("context", "contexts", "passage", "paragraph", "document", "pair")),
    "label": ("answers", ("answers", "answer", "label")),
}
"""What stands in the columns of each role, and what these are usually called."""
IDS = ("id", "qid", "question_id")
COLUMNS = ("id", "title", "question", "context", "answers")
Spans = tuple[tuple[str, int], ...]
"""The texts that answer a question, each with the character of the context that it begins at."""


@dataclass(frozen=True)
class Asked:
    """What is known of a question.

    Args:
        id: Of the question in the data; empty where it has none.
        answers: All that are right; none where the context does not tell.
    """

    id: str
    answers: Spans


def read_squad(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read SQuAD's own JSON (articles with paragraphs, these with questions), or JSON of rows.

    `plausible_answers` are left out, and an `is_impossible` question has no answers.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return read_document(path, content, quoting)  # which says what is wrong with it
    articles = value.get("data") if isinstance(value, dict) else None
    if not isinstance(articles, list) or not any(
        isinstance(article, dict) and "paragraphs" in article for article in articles
    ):
        return read_document(path, content, quoting)
    mistakes = Mistakes(str(path), "question")
    rows = list(_questions(articles, mistakes))
    if not rows:
        mistakes.tell()
        raise InputError(f"data file {path} has no questions; give articles with paragraphs, and these with qas.")

    def take(wanted: Sequence[str]) -> Taken:
        return range(1, len(rows) + 1), [[row[name] for row in rows] for name in wanted]

    return Table(str(path), list(COLUMNS), take, mistakes)


def _questions(articles: Sequence[Any], mistakes: Mistakes) -> Iterator[dict[str, Any]]:
    number = 0
    for article in articles:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        for paragraph in paragraphs if isinstance(paragraphs, list) else [None]:
            qas = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(paragraph, dict) or not isinstance(qas, list):
                mistakes.add(number + 1, None, f"is to stand in a paragraph with context and qas, not in {shown(paragraph)}")
                continue
            for qa in qas:
                number += 1
                if not isinstance(qa, dict):
                    mistakes.add(number, None, f"is no object: {shown(qa)}")
                    continue
                answers = [] if qa.get("is_impossible") is True else qa.get("answers")
                yield {
                    "id": qa.get("id"),
                    "title": article.get("title") or "",
                    "question": qa.get("question"),
                    "context": paragraph.get("context"),
                    "answers": answers,
                }


def collect_asked(table: Table, columns: Mapping[str, str], others: Sequence[str] = ()) -> Rows:
    """Read questions, contexts and answers: `{text: [...], answer_start: [...]}`, or a list of `{text, answer_start}`.

    Args:
        table: Where they stand.
        columns: `text` (the question), `pair` (the context) and `label` (the answers) -> column; those left out are found by
            their usual names.
        others: Further columns to read, as texts.

    Raises:
        InputError: A column is not there, or rows cannot be used; the first ten are named.
    """
    check_names(table.source, table.names)
    roles = {role: column_of(table, role, usual, columns, what) for role, (what, usual) in USUAL.items()}
    names = next((name for name in IDS if name in table.names and name not in roles.values()), None)
    wanted = [*dict.fromkeys([*roles.values(), *([names] if names else []), *others])]
    lines, taken = table.take(wanted)
    values = dict(zip(wanted, taken, strict=True))
    questions, contexts, read = [], [], []
    for row, line in enumerate(lines):
        question, context = (values[roles[role]][row] for role in ("text", "pair"))
        spans = _checked(line, roles, question, context, values[roles["label"]][row], table.mistakes)
        if spans is not None:
            questions.append(question)
            contexts.append(context)
            read.append(Asked(str(values[names][row]) if names else "", spans))
    table.mistakes.tell()
    if not read:
        raise InputError(f"data file {table.source} has no rows; add rows, or name another file.")
    more = {name: tuple(map(str, values[name])) for name in others}
    source, unit = table.source, table.mistakes.unit
    return Rows(source, tuple(questions), tuple(contexts), tuple(read), tuple(lines), roles["label"], unit, more)


def _checked(
    line: int, roles: Mapping[str, str], question: Any, context: Any, answers: Any, mistakes: Mistakes
) -> Spans | None:
    """The answers of a row; None, with what is wrong noted, where the row cannot be used."""
    for role, text in (("text", question), ("pair", context)):
        if not isinstance(text, str) or not text.strip():
            mistakes.add(line, roles[role], f"is empty or no text: {shown(text)}")
            return None
    spans = _spans(answers)
    if isinstance(spans, str):
        mistakes.add(line, roles["label"], spans)
        return None
    for text, start in spans:
        if context[start : start + len(text)] != text:
            there = context.find(text)
            hint = f"; it stands at character {there}" if there >= 0 else "; the context does not hold it"
            mistakes.add(line, roles["label"], f"has the answer {shown(text)} at character {start} of the context{hint}")
            return None
    return spans


def _spans(answers: Any) -> Spans | str:
    """The texts and their beginnings, each pair once; what is wrong, where something is."""
    if isinstance(answers, str):
        try:
            answers = json.loads(answers)
        except ValueError:
            return f"is no object or list of answers with text and answer_start: {shown(answers)}"
    if isinstance(answers, dict):
        texts, starts = (_listed(answers.get(key)) for key in ("text", "answer_start"))
        if texts is None or starts is None or len(texts) != len(starts):
            return f"has not as many answer_start as text: {shown(answers)}"
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    answers = _listed(answers)
    if answers is None:
        return "is no object or list of answers with text and answer_start"
    spans = []
    for answer in answers:
        text, start = (answer.get(key) for key in ("text", "answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not text.strip():
            return f"holds an answer without text; give an empty list where there is no answer: {shown(answer)}"
        if isinstance(start, bool) or not isinstance(start, int | np.integer) or start < 0:
            return f"holds an answer whose answer_start is no whole number from 0 on: {shown(answer)}"
        spans.append((text, int(start)))
    return tuple(spans)


def _listed(value: Any) -> list[Any] | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else None
