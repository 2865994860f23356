"""Files of words with their tags, one word a line: CoNLL's columns, and CoNLL-U."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.errors import InputError
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.rows import Table, Taken

DOCUMENT = "-DOCSTART-"
UNIVERSAL = ("id", "tokens", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U, https://universaldependencies.org/format.html; the words are called as elsewhere."""


def read_conll(path: Path, content: bytes, _: str | None) -> Table:
    """Read words and tags: the first and the last column, parted by tabs or by white space; an empty line ends a text.

    Columns between them go by column_2 and so on. Lines that begin with -DOCSTART- are left out.
    """
    mistakes = Mistakes(str(path))
    texts: list[tuple[int, list[list[str]]]] = []
    width: int | None = None
    for first, lines in _texts(decoded(path, content)):
        rows = []
        for line, written in lines:
            cells = written.split("\t") if "\t" in written else written.split()
            if cells[0] == DOCUMENT:
                continue
            width = width or len(cells)
            if len(cells) != width or width < 2:
                mistakes.add(line, None, f"has {len(cells)} columns, but {max(width, 2)} are needed: a word, and last its tag")
                continue
            rows.append([cell.strip() for cell in cells])
        if rows:
            texts.append((first, rows))
    return _table(path, ("tokens", *(f"column_{number}" for number in range(2, width or 2)), "tags"), texts, mistakes)


def read_conllu(path: Path, content: bytes, _: str | None) -> Table:
    """Read CoNLL-U; comments, contractions (2-3) and words that are not written (8.1) are left out."""
    mistakes = Mistakes(str(path))
    texts = []
    for first, lines in _texts(decoded(path, content)):
        rows = []
        for line, written in lines:
            if written.startswith("#"):
                continue
            cells = written.split("\t")
            if len(cells) != len(UNIVERSAL):
                mistakes.add(line, None, f"has {len(cells)} columns; CoNLL-U has {len(UNIVERSAL)}, parted by tabs")
            elif cells[0].isdecimal():
                rows.append([cell.strip() for cell in cells])
        if rows:
            texts.append((first, rows))
    return _table(path, UNIVERSAL, texts, mistakes)


def _texts(text: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """The lines of each text with their numbers, and the first one's."""
    lines: list[tuple[int, str]] = []
    for line, written in enumerate(text_lines(text), 1):
        if written.strip():
            lines.append((line, written.strip("\r\n")))
        elif lines:
            yield lines[0][0], lines
            lines = []
    if lines:
        yield lines[0][0], lines


def _table(path: Path, names: Sequence[str], texts: Sequence[tuple[int, list[list[str]]]], mistakes: Mistakes) -> Table:
    if not texts:
        mistakes.tell()
        raise InputError(f"data file {path} has no words; give one word a line with its tag, and an empty line between texts.")

    def take(wanted: Sequence[str]) -> Taken:
        places = [names.index(name) for name in wanted]
        columns: list[list[Any]] = [[[row[place] for row in rows] for _, rows in texts] for place in places]
        return [first for first, _ in texts], columns

    return Table(str(path), list(names), take, mistakes)
