"""Texts that stand in several columns, such as a title and a body, joined into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compress.errors import InputError, shown
from compress.tasks.data.cells import join_cells
from compress.tasks.data.rows import Table, Taken, check_has

SEPARATOR = "\n"
"""Between joined texts: white space to a tokenizer of words, and a token of its own to one of bytes."""
JOINABLE = ("text", "pair")

Columns = Mapping[str, str | Sequence[str]]
"""By role the name of a column, or of text and pair several names."""


def join_columns(table: Table, columns: Columns, separator: str | None = None) -> tuple[Table, dict[str, str]]:
    """Give a table a column for each text that stands in several, which is read by joining theirs; empty ones are left out.

    Args:
        table: Where they stand.
        columns: By role the name, or the names in the order in which they are joined.
        separator: Between them; None for a line's end.

    Returns:
        The table, and the names of the columns by role, one each.

    Raises:
        InputError: A name is no column's, or is there twice.
    """
    check_joined(columns)
    parts_of: dict[str, tuple[str, ...]] = {}
    single: dict[str, str] = {}
    for role, names in columns.items():
        if isinstance(names, str):
            single[role] = names
            continue
        for name in names:
            check_has(table, role, name)
        single[role] = " + ".join(names)
        parts_of[single[role]] = tuple(names)
    if not parts_of:
        return table, single

    def take(wanted: Sequence[str]) -> Taken:
        read = [*dict.fromkeys(part for name in wanted for part in parts_of.get(name, (name,)))]
        lines, taken = table.take(read)
        values = dict(zip(read, taken, strict=True))
        between = SEPARATOR if separator is None else separator
        return lines, [
            join_cells({part: values[part] for part in parts_of[name]}, lines, between, table.mistakes)
            if name in parts_of
            else values[name]
            for name in wanted
        ]

    return replace(table, names=[*table.names, *parts_of], take=take), single


def told_of_joining(columns: Columns, separator: str | None = None) -> dict[str, Any]:
    """Tell which columns are joined, by role, and what stands between them; nothing where none are."""
    joined: dict[str, Any] = {role: list(names) for role, names in columns.items() if not isinstance(names, str)}
    return {**joined, "separator": SEPARATOR if separator is None else separator} if joined else {}


def check_joined(columns: Columns) -> None:
    """Raise InputError where several columns are named that cannot be joined."""
    for role, names in columns.items():
        if isinstance(names, str):
            continue
        if role not in JOINABLE:
            raise InputError(f"data.{role} is {shown(list(names))}; a {role} stands in one column: name it.")
        if len(names) < 2 or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise InputError(f"data.{role} is {shown(list(names))}; to join texts, name two columns or more, each once.")
