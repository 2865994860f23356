"""Queries with passages to rank, out of what files hold: lists, a passage a row, or judgements of a collection."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.data.bm25 import best_documents
from compress.tasks.data.delimited import table_reader
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.retrieval import are_judgements, read_retrieval
from compress.tasks.data.rows import Rows, Table, Taken, check_names, column_of

CANDIDATES = 100
"""Of BM25 for each query, beside what is judged: as many as rerankers get in BEIR's tables."""
QUERY = ("query", "queries", "question", "anchor", "claim", "sentence1", "text")
PASSAGE = (
    *("passages", "passage", "documents", "document", "docs", "doc", "candidates", "texts", "text_pair", "pair"),
    *("sentence2", "answer", "response", "context", "content", "abstract"),
)
POSITIVE = ("positive", "positives", "pos", "positive_passages")
NEGATIVE = re.compile(r"(hard_)?neg(ative)?(s|_passages|_\d+)?")
LABEL, SCORE = ("label", "labels", "relevance", "relevances"), ("score", "scores", "similarity")
SCORES_OF = {"pos": "pos_scores", "neg": "neg_scores"}
"""Another model's scores of the passages in these columns, as FlagEmbedding's files have them."""
_SHAPES = (
    "query with passages and labels (lists, or a passage and its label a row), query with positive and negative, or BEIR's "
    "judgements with corpus.jsonl and queries.jsonl beside them"
)


@dataclass(frozen=True)
class Candidates:
    """The passages of a query.

    Args:
        passages: Each once.
        relevances: Of each, 0 where it is not relevant; one at least is above another.
        scores: What another model gave to each; None where none did.
    """

    passages: tuple[str, ...]
    relevances: tuple[float, ...]
    scores: tuple[float, ...] | None


@dataclass
class _Asked:
    """What rows say of a query: of each passage its line, its label and its score."""

    line: int
    entries: dict[str, tuple[int, float, float | None]] = field(default_factory=dict)


def read_judged(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read a table of tabs; or judgements, with the passages of each query: what is judged, and BM25's first hundred."""
    return _of_judgements(path, content) if are_judgements(content) else table_reader("\t", "none")(path, content, quoting)


def read_qrels(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read judgements; see `read_judged`."""
    return _of_judgements(path, content)


def _of_judgements(path: Path, content: bytes) -> Table:
    collection = read_retrieval(path, content)

    def take(wanted: Sequence[str]) -> Taken:
        documents, texts = collection.documents, list(collection.documents.values())
        lines: dict[str, int] = {}
        judged: dict[str, dict[str, float]] = {}
        for query, text in collection.queries.items():  # a text may be asked under several ids
            lines.setdefault(text, collection.lines[query])
            own = judged.setdefault(text, {})
            for document, relevance in collection.relevances[query].items():  # and a document may have copies
                own[documents[document]] = max(relevance, own.get(documents[document], 0.0))
        for (_, own), places in zip(judged.items(), best_documents([*judged], texts, CANDIDATES), strict=True):
            own.update({texts[place]: 0.0 for place in places if texts[place] not in own})
        passages, labels = ([list(side(own)) for own in judged.values()] for side in (dict.keys, dict.values))
        columns: dict[str, list[Any]] = {"query": [*judged], "passages": passages, "labels": labels}
        return [*lines.values()], [columns[name] for name in wanted]

    return Table(str(path), ["query", "passages", "labels"], take, Mistakes(str(path)))


def collect_ranked(table: Table, columns: Mapping[str, str]) -> Rows:
    """Gather the passages of each query, over all rows that have it.

    Labels that are whole numbers from 0 on, all through the file, are judgements; others are scores that another model gave.
    Where there are scores alone, the passage with the highest one of each query is the relevant one.

    Args:
        table: Where they stand.
        columns: `text` (the query), `pair` (the passages) and `label` -> column; others are found by their usual names.

    Raises:
        InputError: A column is not there, or rows cannot be used; the first ten are named.
    """
    check_names(table.source, table.names)
    asked = _by_query(table, columns)
    entries = [entry for query in asked.values() for entry in query.entries.values()]
    others = [(line, label) for line, label, _ in entries if label < 0 or not label.is_integer()]
    scored = sum(score is not None for *_, score in entries)
    if scored:
        for line, label in others:
            table.mistakes.add(
                line, None, f"has the label {label:g} beside scores; give whole numbers from 0 on (not relevant)"
            )
        if scored < len(entries):
            raise InputError(f"{table.source}: {scored} of {len(entries)} passages have a score; give one to all, or to none.")
    candidates = [_candidates(query, are_scores=bool(others)) for query in asked.values()]
    for query, own in zip(asked.values(), candidates, strict=True):
        if len(set(own.relevances)) < 2:
            table.mistakes.add(query.line, None, _why_alike(own))
    table.mistakes.tell()
    if not candidates:
        raise InputError(f"data file {table.source} has no rows; add rows, or name another file.")
    lines = tuple(query.line for query in asked.values())
    return Rows(table.source, tuple(asked), None, tuple(candidates), lines, "", table.mistakes.unit)


def _why_alike(own: Candidates) -> str:
    count = len(own.passages)
    if not any(own.relevances):
        return f"begins a query none of whose {count} passages is relevant; give one that is, or leave the query out"
    what = "only passage is relevant" if count == 1 else f"{count} passages are all as relevant"
    return f"begins a query whose {what}; give one that is less so too, or leave the query out"


def _candidates(query: _Asked, *, are_scores: bool) -> Candidates:
    labels = tuple(label for _, label, _ in query.entries.values())
    scores = labels if are_scores else tuple(score for *_, score in query.entries.values() if score is not None)
    relevances = tuple(float(score == max(scores)) for score in scores) if are_scores else labels
    return Candidates(tuple(query.entries), relevances, scores or None)


def _by_query(table: Table, columns: Mapping[str, str]) -> dict[str, _Asked]:
    """The queries, each once, in the order of their first rows."""
    query = column_of(table, "text", QUERY, columns, "query")
    parts = _parts(table, columns, query)
    wanted = [*dict.fromkeys([query, *(name for part in parts for name in part if isinstance(name, str))])]
    lines, taken = table.take(wanted)
    values = dict(zip(wanted, taken, strict=True))
    asked: dict[str, _Asked] = {}
    for row, line in enumerate(lines):
        text = values[query][row]
        if not isinstance(text, str) or not text.strip():
            table.mistakes.add(line, query, f"is empty or no text: {shown(text)}")
            continue
        own, within = asked.setdefault(text.strip(), _Asked(line)), set[str]()
        for part in parts:
            cells = [values[name][row] if isinstance(name, str) else name for name in part]
            for entry in _entries(part, cells, line, table.mistakes):
                _enter(own, entry, line, part[0], within, table.mistakes)
    table.mistakes.tell()
    return asked


_Part = tuple[str, str | float, str | None]
"""A column of passages; their labels' column, or the label of all of them; their scores' column, if there is one."""


def _parts(table: Table, columns: Mapping[str, str], query: str) -> list[_Part]:
    """Where passages, labels and scores stand: passages of a sign (positive, negative), or with their labels."""
    signs = _signs(table)
    if signs and "pair" not in columns and "label" not in columns:
        scores = {name: column for name, column in SCORES_OF.items() if column in table.names}
        return [(name, sign, scores.get(name)) for name, sign in signs.items()]
    named = {**columns, "text": query}
    if not any(
        role in columns or set(usual) & set(table.names) for role, usual in (("pair", PASSAGE), ("label", LABEL + SCORE))
    ):
        raise InputError(f"{table.source} has the columns {', '.join(table.names)}; allowed: {_SHAPES}.")
    passages = column_of(table, "pair", PASSAGE, named, "passages")
    label = column_of(table, "label", (*LABEL, *SCORE), {**named, "pair": passages}, "labels")
    score = next((name for name in SCORE if name in table.names and name not in (label, passages, query)), None)
    return [(passages, label, score)]


def _signs(table: Table) -> dict[str, float]:
    """The columns of relevant and of other passages; none where one of the two is missing."""
    positive = next((name for name in POSITIVE if name in table.names), None)
    negatives = [name for name in table.names if NEGATIVE.fullmatch(name)]
    return {positive: 1.0, **dict.fromkeys(negatives, 0.0)} if positive is not None and negatives else {}


def _entries(part: _Part, cells: Sequence[Any], line: int, mistakes: Mistakes) -> Iterator[tuple[str, float, float | None]]:
    """Passages with their labels and scores, out of lists or one of each."""
    column, passages = part[0], _listed(cells[0])
    beside = [
        _listed(cell) if isinstance(name, str) else [name] * len(passages)
        for name, cell in zip(part[1:], cells[1:], strict=True)
    ]
    for name, numbers in zip(part[1:], beside, strict=True):
        if len(numbers) != len(passages):
            mistakes.add(line, str(name), f"has {len(numbers)} entries for {len(passages)} passages in {column!r}")
            return
    if not passages:
        mistakes.add(line, column, "is an empty list")
    for passage, *numbers in zip(passages, *beside, strict=True):
        if not isinstance(passage, str) or not passage.strip():
            mistakes.add(line, column, f"holds a passage that is empty or no text: {shown(passage)}")
            continue
        label, score = (_number(number) for number in numbers)
        for name, number, read in zip(part[1:], numbers, (label, score), strict=True):
            if isinstance(name, str) and read is None:
                mistakes.add(line, name, f"is no finite number: {shown(number)}")
        if label is not None:
            yield passage.strip(), label, score


def _enter(
    own: _Asked, entry: tuple[str, float, float | None], line: int, column: str, within: set[str], mistakes: Mistakes
) -> None:
    """Note a passage of a query; a row may not have it twice, and rows may not say different things of it."""
    passage, *numbers = entry
    first, *others = own.entries.setdefault(passage, (line, entry[1], entry[2]))
    if passage in within:
        mistakes.add(line, column, f"holds a passage that this row has already: {shown(passage)}")
    elif others != numbers:
        before, after = next(pair for pair in zip(others, numbers, strict=True) if pair[0] != pair[1])
        what = f"gives {after:g} to a passage to which {mistakes.unit} {first} gives {before:g}"
        mistakes.add(line, column, f"{what}, for the same query: {shown(passage)}")
    within.add(passage)


def _listed(value: Any) -> list[Any]:
    """What a cell holds: a list, one that a table of text writes as JSON, or one value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [value]


def _number(value: Any) -> float | None:
    """A finite number, also as text and as true or false; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value) if value.isascii() else None
        except ValueError:
            return None
    is_number = isinstance(value, int | float | np.integer | np.floating | np.bool_) and math.isfinite(value)
    return float(value) if is_number else None
