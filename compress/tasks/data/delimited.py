"""Tables of text: columns parted by tabs or commas, with quotation marks that mean something or none."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.errors import InputError
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.rows import MOST_COLUMNS, Table, Taken

QUOTINGS = ("csv", "none")
Line = tuple[int, list[str]]


def table_reader(delimiter: str, usual: str) -> Callable[[Path, bytes, str | None], Table]:
    """Make the reader of tables with this delimiter.

    Args:
        delimiter: Between two columns.
        usual: What quotation marks mean where nothing is said: "csv" or "none".
    """

    def read(path: Path, content: bytes, quoting: str | None) -> Table:
        text = decoded(path, content)
        is_quoted = (quoting or usual) == "csv"
        lines = _quoted(path, text, delimiter) if is_quoted else _unquoted(text, delimiter)
        with _fields_of_any_size(len(text)):
            header = [name.strip() for name in next(lines, (1, []))[1]]
        mistakes = Mistakes(str(path))

        def take(wanted: Sequence[str]) -> Taken:
            with _fields_of_any_size(len(text)):
                return _taken(lines, header, wanted, mistakes)

        return Table(str(path), header, take, mistakes)

    return read


def _taken(lines: Iterator[Line], header: Sequence[str], wanted: Sequence[str], mistakes: Mistakes) -> Taken:
    width, places = len(header), [header.index(name) for name in wanted]
    numbers: list[int] = []
    columns: list[list[Any]] = [[] for _ in wanted]
    for number, fields in lines:
        if len(fields) != width:
            if fields and fields != [""]:
                many = "more than " * (len(fields) > MOST_COLUMNS)
                mistakes.add(number, None, f"has {many}{min(len(fields), MOST_COLUMNS)} fields, the header {width}")
            continue
        if fields == [""]:
            continue
        numbers.append(number)
        for column, place in zip(columns, places, strict=True):
            column.append(fields[place])
    return numbers, columns


def _unquoted(text: str, delimiter: str) -> Iterator[Line]:
    """Lines and their fields, of which no more are parted than a file may have columns."""
    for number, line in enumerate(text_lines(text), 1):
        yield number, line.rstrip("\r").split(delimiter, MOST_COLUMNS)


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as err:
            raise InputError(
                f"{path}, line {begins}: {err}; close the quotation marks, or set data.quoting to none if they mean nothing."
            ) from err
        yield begins, fields
        begins = reader.line_num + 1


@contextlib.contextmanager
def _fields_of_any_size(characters: int) -> Iterator[None]:
    """Let fields be as large as the file while it is read; the limit of the csv module holds for the whole process."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, characters + 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
