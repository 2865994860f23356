"""What is wrong with the rows of a file, gathered so that it can be told at once."""

from __future__ import annotations

from collections.abc import Sequence

from compress.errors import InputError

MOST_SHOWN = 10


def first_of(lines: Sequence[str]) -> list[str]:
    """The first lines of a list of mistakes, and how many more there are."""
    more = [f"  and {len(lines) - MOST_SHOWN} more"] if len(lines) > MOST_SHOWN else []
    return [*lines[:MOST_SHOWN], *more]


class Mistakes:
    """Mistakes of one file.

    Args:
        source: The file.
        unit: What is counted: its lines, or its rows.
    """

    def __init__(self, source: str, unit: str = "line") -> None:
        self.source, self.unit = source, unit
        self.count = 0
        self._first: dict[str | None, list[tuple[int, str]]] = {}

    def add(self, line: int, column: str | None, what: str) -> None:
        """Note what is wrong with a row; the first ten of each column are kept."""
        self.count += 1
        kept = self._first.setdefault(column, [])
        if len(kept) < MOST_SHOWN:
            where = f", column {column!r}" if column else ""
            kept.append((line, f"  {self.unit} {line}{where} {what}"))

    def tell(self) -> None:
        """Raise an InputError that names the first ten rows and the number of the others; return where there is none."""
        if self.count:
            mistakes = sorted((mistake for kept in self._first.values() for mistake in kept), key=lambda mistake: mistake[0])
            first = mistakes[:MOST_SHOWN]
            more = [f"  and {self.count - len(first)} more"] if self.count > len(first) else []
            heading = f"{self.source}: rows that cannot be used; correct or remove them:"
            raise InputError("\n".join([heading, *(what for _, what in first), *more]))
