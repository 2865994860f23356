"""Tables out of JSON: an object a line, an array of objects, or an object of columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.errors import InputError, shown
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.rows import MOST_COLUMNS, Table, Taken

Record = tuple[int, dict[str, Any]]
SHAPES = 'an array of objects, {"data": [objects]}, an object of columns (each a list), or an object a line'


class _Twice(ValueError):
    """A name stands twice in one object, so that one of the values would be lost."""


def read_lines(path: Path, content: bytes, _: str | None) -> Table:
    """Read a file of one JSON object a line."""
    return _of_lines(path, decoded(path, content))


def read_document(path: Path, content: bytes, _: str | None) -> Table:
    """Read a JSON file in any of the shapes that pandas and datasets write and read.

    Raises:
        InputError: It is no JSON, or has another shape.
    """
    text = decoded(path, content)
    try:
        value = _parsed(text)
    except (ValueError, RecursionError) as err:
        lines = [line for line in text_lines(text) if line.strip()]
        if isinstance(err, json.JSONDecodeError) and err.msg == "Extra data" and len(lines) > 1:
            return _of_lines(path, text)
        raise InputError(f"{path} is no JSON ({_why(err)}); write it again, as {SHAPES}.") from err
    mistakes = Mistakes(str(path), "row")
    if (
        isinstance(value, dict)
        and isinstance(value.get("data"), list)
        and all(isinstance(record, dict) for record in value["data"])
    ):
        value = value["data"]
    if isinstance(value, list):
        return _of_records(path, _objects(value, mistakes), mistakes)
    if isinstance(value, dict) and not any(isinstance(column, list | dict) for column in value.values()):
        return _of_records(path, [(1, value)] if value else [], mistakes)
    if isinstance(value, dict):
        return _of_columns(path, value, mistakes)
    raise InputError(f"{path} holds {shown(value)}; allowed: {SHAPES}.")


def _of_lines(path: Path, text: str) -> Table:
    mistakes = Mistakes(str(path))
    records: list[Record] = []
    for line, written in enumerate(text_lines(text), 1):
        if not written.strip():
            continue
        try:
            value = _parsed(written)
        except (ValueError, RecursionError) as err:
            mistakes.add(line, None, f"is no JSON ({_why(err)})")
            continue
        if isinstance(value, dict):
            records.append((line, value))
        else:
            mistakes.add(line, None, f"holds a {type(value).__name__}, not an object")
    return _of_records(path, records, mistakes)


def _objects(values: Sequence[Any], mistakes: Mistakes) -> list[Record]:
    records: list[Record] = []
    for row, value in enumerate(values, 1):
        if isinstance(value, dict):
            records.append((row, value))
        else:
            mistakes.add(row, None, f"holds a {type(value).__name__}, not an object")
    return records


def _of_records(path: Path, records: Sequence[Record], mistakes: Mistakes) -> Table:
    if not records:
        mistakes.tell()
        raise InputError(f"data file {path} has no rows; add rows, or name another file.")
    names = dict.fromkeys(records[0][1])
    for _, record in records:
        if record.keys() != names.keys():
            names.update(dict.fromkeys(record))
            if len(names) > MOST_COLUMNS:
                break  # refused by those who look at the names

    def take(wanted: Sequence[str]) -> Taken:
        return [row for row, _ in records], [[record.get(name) for _, record in records] for name in wanted]

    return Table(str(path), list(names), take, mistakes)


def _of_columns(path: Path, columns: dict[str, Any], mistakes: Mistakes) -> Table:
    """A list for each column; or, as pandas writes, an object for each, from the row's index to its value."""
    values = list(columns.values())
    if all(isinstance(column, dict) for column in values):
        index = values[0]
        for name, column in columns.items():
            if column.keys() != index.keys():
                both = f"{shown(next(iter(columns)))} and {shown(name)}"
                raise InputError(f"{path}: columns {both} have values for other rows; allowed: {SHAPES}.")
        columns = {name: [column[row] for row in index] for name, column in columns.items()}
    elif not all(isinstance(column, list) for column in values):
        raise InputError(f"{path} holds an object of another shape, {shown(columns)}; allowed: {SHAPES}.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        least, most = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise InputError(
            f"{path}: column {shown(least)} has {lengths[least]} values, column {shown(most)} has "
            f"{lengths[most]}; each row needs one of each."
        )

    def take(wanted: Sequence[str]) -> Taken:
        return range(1, max(lengths.values(), default=0) + 1), [columns[name] for name in wanted]

    return Table(str(path), list(columns), take, mistakes)


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"column {shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return made


def _why(err: ValueError | RecursionError) -> str:
    if isinstance(err, json.JSONDecodeError | _Twice):
        return str(err)
    return (
        "lists or objects within one another a thousand times"
        if isinstance(err, RecursionError)
        else ("a number of more than 4,300 digits")
    )
