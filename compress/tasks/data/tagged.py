"""Rows of words with tags, or of texts with spans of characters, out of what files hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.data.rows import Rows, Table, check_names, column_of
from compress.tasks.tags import bio, spans_to_tags

WORDS = ("tokens", "words", "text", "sentence")
TAGS = ("tags", "ner_tags", "labels", "label", "spans", "entities", "upos", "pos_tags")
PARTS = re.compile(r"\w+|[^\w\s]")
"""What a text without words of its own is cut into."""
Tagged = tuple[tuple[str, ...], tuple[str, ...]]
"""The words of a text, and their tags."""


def collect_tagged(table: Table, columns: Mapping[str, str]) -> Rows:
    """Read words and tags, or a text and spans of its characters ({start, end, label}, or [start, end, label]).

    Raises:
        InputError: A column is not there, or rows cannot be used; the first ten are named.
    """
    check_names(table.source, table.names)
    chosen = {role: column_of(table, role, usual, columns) for role, usual in (("text", WORDS), ("label", TAGS))}
    lines, (text_column, label_column) = table.take([chosen["text"], chosen["label"]])
    read: list[Tagged] = []
    for line, words, tags in zip(lines, text_column, label_column, strict=True):
        row = _row(_parsed(words), _parsed(tags))
        if isinstance(row, str):
            table.mistakes.add(line, chosen["label"], row)
        else:
            read.append(row)
    table.mistakes.tell()
    if not read:
        raise InputError(f"data file {table.source} has no rows; add rows, or name another file.")
    sentences = tuple(" ".join(words) for words, _ in read)
    return Rows(table.source, sentences, None, tuple(read), tuple(lines), chosen["label"], table.mistakes.unit)


def _parsed(value: Any) -> Any:
    """A list, where a text holds one, as tables of text do."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.tolist() if isinstance(value, np.ndarray) else value


def _row(words: Any, tags: Any) -> Tagged | str:
    """The words and tags of a row; what is wrong with it, if something is."""
    if isinstance(words, str):
        return _row_of_spans(words, tags)
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) and word.strip() for word in words):
        return f"has no list of words beside it, none of them empty: {shown(words)}"
    if not isinstance(tags, list | tuple) or not all(type(tag) in (str, int) and tag != "" for tag in tags):
        return f"is no list of tags: {shown(tags)}"
    if len(tags) != len(words):
        return f"has {len(tags)} tags for {len(words)} words"
    return tuple(word.strip() for word in words), tuple(bio([str(tag) for tag in tags]))


def _row_of_spans(text: str, spans: Any) -> Tagged | str:
    intervals = [(match.start(), match.end()) for match in PARTS.finditer(text)]
    if not intervals:
        return "stands beside a text without words"
    if not isinstance(spans, list | tuple):
        return f"is no list of spans: {shown(spans)}"
    entities = []
    for span in spans:
        values = [span.get(key) for key in ("start", "end", "label")] if isinstance(span, dict) else span
        if not isinstance(values, list | tuple) or [type(value) for value in values] != [int, int, str] or not values[2]:
            return f"holds a span that is not {{start, end, label}}: {shown(span)}"
        if not 0 <= values[0] < values[1] <= len(text):
            return f"holds a span outside of the text's {len(text)} characters: {shown(span)}"
        entities.append((values[0], values[1], values[2]))
    tags = spans_to_tags(intervals, entities)
    if tags is None:
        return f"holds spans that share a word, or that have none: {shown(spans)}"
    return tuple(text[start:end] for start, end in intervals), tuple(tags)
