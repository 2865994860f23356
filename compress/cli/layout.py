"""Lay a table out: aligned columns, wrapped or turned into a list where a terminal is too narrow for them."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TextIO

GAP = 2
LEAST_COLUMN = 14
"""Characters of a column of text; below that its lines are too short to be read."""


def table_text(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True, stream: TextIO | None = None
) -> str:
    """Lay a table out in aligned columns; within the width of a terminal, where it is for one.

    What does not fit is not cut: texts are wrapped between words, and a table of numbers becomes a list of its rows.

    Args:
        head: The names of the columns.
        rows: A text for each column.
        numbers: Set all columns but the first to the right, and wrap none.
        stream: Where it will be printed; stdout if None.
    """
    stream = stream or sys.stdout
    lines = [[_one_line(cell) for cell in line] for line in (head, *rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    room = shutil.get_terminal_size().columns if stream.isatty() else None
    if room is None or sum(widths) + GAP * (len(widths) - 1) <= room:
        laid = [_aligned(line, widths, numbers) for line in lines]
    elif not numbers and (narrowed := _narrowed(widths, room)):
        laid = ["\n".join(_wrapped(line, narrowed)) for line in lines]
    else:
        return "\n\n".join("\n".join(_listed(lines[0], line, room)) for line in lines[1:]) or ", ".join(lines[0])
    if _may_be_bold(stream):
        laid[0] = f"\x1b[1m{laid[0]}\x1b[0m"
    return "\n".join(laid)


def _one_line(cell: str) -> str:
    """A cell without what would end its line or command the terminal."""
    return "".join(_escaped(character) if unicodedata.category(character) in ("Cc", "Cs") else character for character in cell)


def _escaped(character: str) -> str:
    if character in "\n\t":
        return " "
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character, none for one that is set over another."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _aligned(cells: Sequence[str], widths: Sequence[int], numbers: bool) -> str:
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        blank = " " * (width - _width(cell))
        padded.append(blank + cell if numbers and index else cell + blank)
    return (" " * GAP).join(padded).rstrip()


def _narrowed(widths: Sequence[int], room: int) -> list[int] | None:
    """Widths of columns that fit into `room`, the first one whole; None where the others become too narrow."""
    rest = room - widths[0] - GAP * (len(widths) - 1)
    others = list(widths[1:])
    narrowed: list[int] = []
    for index, width in enumerate(others):
        share = rest // (len(others) - index)
        narrowed.append(width if width <= share else max(share, rest - sum(others[index + 1 :])))
        rest -= narrowed[-1]
    return [widths[0], *narrowed] if narrowed and min(narrowed) >= min(LEAST_COLUMN, *others) else None


def _wrapped(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of a row whose cells are wrapped."""
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(len(column) for column in columns)
    filled = [[*column, *[""] * (height - len(column))] for column in columns]
    return [_aligned([column[line] for column in filled], widths, numbers=False) for line in range(height)]


def _listed(head: Sequence[str], row: Sequence[str], room: int) -> list[str]:
    """A row as a list: its first cell, then a line for each other one; words are wrapped, a number is never broken."""
    lines = [row[0]]
    for name, cell in zip(head[1:], row[1:], strict=True):
        if cell:
            lines += textwrap.wrap(
                f"{name}: {cell}",
                max(room, 10),
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def _may_be_bold(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.name == "posix" and os.environ.get("TERM") != "dumb")
