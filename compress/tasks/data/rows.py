"""Rows out of tables: which columns are text, pair and label, and what stands in them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compress.errors import InputError, shown
from compress.tasks.data.cells import ReadCells, read_labels, read_texts
from compress.tasks.data.mistakes import Mistakes

TEXT_COLUMNS = ("text", "sentence", "sentence1", "premise", "question", "question1", "review", "content", "tweet")
PAIR_COLUMNS = ("text_pair", "pair", "sentence2", "hypothesis", "question2")
LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment")
MOST_COLUMNS = 10_000
MOST_LISTED, MOST_LIKENED, LONGEST_LIKENED = 20, 1000, 200
CELLS: Mapping[str, ReadCells] = {"text": read_texts, "pair": read_texts, "label": read_labels}
"""What a task of single labels reads from its columns."""

Taken = tuple[Sequence[int], Sequence[Sequence[Any]]]
"""The line of each row, and for each column that was asked for its values."""


@dataclass(frozen=True)
class Rows:
    """Rows as they stand in a source.

    Args:
        source: The file, or the data set and its split.
        texts: The first text of each row.
        pairs: The second; None for single texts.
        labels: One for each row, as the task's kind reads them: of text classification a name or an id, as text.
        lines: Where each row stands, counted from 1.
        label_column: What the labels' column is called.
        unit: What `lines` counts: lines, or rows.
        others: Further columns that were asked for, as labels are read.
    """

    source: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[Any, ...]
    lines: tuple[int, ...]
    label_column: str = "label"
    unit: str = "line"
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def pick(self, indices: Sequence[int]) -> Rows:
        """The rows at these positions."""
        return replace(
            self,
            texts=tuple(self.texts[index] for index in indices),
            pairs=None if self.pairs is None else tuple(self.pairs[index] for index in indices),
            labels=tuple(self.labels[index] for index in indices),
            lines=tuple(self.lines[index] for index in indices),
            others={name: tuple(values[index] for index in indices) for name, values in self.others.items()},
        )

    def keys(self) -> list[str]:
        """What makes a row the same as another: its texts."""
        seconds = self.pairs or [""] * len(self)
        return [f"{text}\x1f{pair}" for text, pair in zip(self.texts, seconds, strict=True)]


@dataclass(frozen=True)
class Table:
    """Columns that have not been read yet.

    Args:
        source: The file, or the data set and its split.
        names: The columns'.
        take: Reads the columns of these names, each of them once; rows that are none are noted in `mistakes` and left out.
        mistakes: Of the source.
    """

    source: str
    names: Sequence[str]
    take: Callable[[Sequence[str]], Taken]
    mistakes: Mistakes


def collect(
    table: Table,
    columns: Mapping[str, str],
    *,
    labelled: bool = True,
    others: Sequence[str] = (),
    cells: Mapping[str, ReadCells] = CELLS,
) -> Rows:
    """Take text, pair and label out of a table, and refuse what is empty or of no use.

    Args:
        table: Where they stand.
        columns: `text`, `pair`, `label` -> column; those left out are found by their usual names.
        labelled: Whether there are labels; without, each row's is empty.
        others: Further columns to read, as labels are.
        cells: What each column may hold.

    Raises:
        InputError: A column is not there, or rows cannot be used; the first ten are named.
    """
    check_names(table.source, table.names)
    roles = choose_columns(table, columns, labelled)
    wanted = [*dict.fromkeys([*roles.values(), *others])]
    lines, taken = table.take(wanted)
    by_name = dict(zip(wanted, taken, strict=True))
    read = {role: tuple(cells[role](by_name[name], lines, name, table.mistakes)) for role, name in roles.items()}
    further = {name: tuple(read_labels(by_name[name], lines, name, table.mistakes)) for name in others}
    table.mistakes.tell()
    if not lines:
        raise InputError(f"data file {table.source} has a header but no rows; add rows, or name another file.")
    labels = read.get("label") or ("",) * len(lines)
    return Rows(
        table.source,
        read["text"],
        read.get("pair"),
        labels,
        tuple(lines),
        roles.get("label", ""),
        table.mistakes.unit,
        further,
    )


def check_names(source: str, names: Sequence[str]) -> None:
    """Raise InputError where there are more columns than anybody has, or two that cannot be told apart."""
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{source} has more than {MOST_COLUMNS:,} columns; give those of text and label alone.")
    seen: dict[str, str] = {}
    for name in names:
        same = seen.get(name.strip())
        if same == name:
            raise InputError(f"{source}: column {shown(name)} stands there twice; rename one.")
        if same is not None:
            raise InputError(f"{source}: columns {shown(same)} and {shown(name)} differ in white space alone; rename one.")
        seen[name.strip()] = name


def choose_columns(table: Table, columns: Mapping[str, str], labelled: bool) -> dict[str, str]:
    """Which column is the text, the pair and the label: those that are named, or those with usual names.

    Raises:
        InputError: A named column is not there, or none was found.
    """
    source, names = table.source, table.names
    for role, name in columns.items():
        check_has(table, role, name)
    column_of: dict[str, str | None] = {}
    for role, usual in (("text", TEXT_COLUMNS), ("label", LABEL_COLUMNS), ("pair", PAIR_COLUMNS)):
        taken = set(columns.values()) | set(column_of.values())
        column_of[role] = columns.get(role) or next((name for name in usual if name in names and name not in taken), None)
    if "text" in columns and "pair" not in columns:
        column_of["pair"] = None
    if not labelled:
        column_of["label"] = None
    for role in ("text", "label") if labelled else ("text",):
        if column_of[role] is None:
            raise InputError(
                f"{source}: which column is the {role}? Name it with data.{role}; it has: {_listed(names)}."
                f"{_other_delimiter(names)}"
            )
    roles = {role: column for role in ("text", "pair", "label") if (column := column_of[role]) is not None}
    if len(set(roles.values())) < len(roles):
        raise InputError(f"{source}: text, pair and label are columns of their own, not {_listed([*roles.values()])}.")
    return roles


def check_has(table: Table, role: str, name: str) -> None:
    """Raise InputError where a table has no column of a name that a role was given."""
    names = table.names
    if name not in names:
        raise InputError(
            f"{table.source} has no column {shown(name)} (data.{role}).{_near_name(name, names)} It has: {_listed(names)}."
        )


def column_of(table: Table, role: str, usual: Sequence[str], columns: Mapping[str, str], what: str = "") -> str:
    """Which column has a role, for kinds whose columns are called otherwise: the one that is named, or one with a usual name.

    Args:
        table: Has the columns.
        role: `text`, `pair` or `label`.
        usual: Names, the likeliest first.
        columns: Those that were named, by role.
        what: What stands in it, for messages; the role if that says it.

    Raises:
        InputError: The named column is not there, or none was found.
    """
    named = columns.get(role)
    if named is not None and named not in table.names:
        raise InputError(f"{table.source} has no column {shown(named)} (data.{role}); it has: {', '.join(table.names)}.")
    column = named or next((name for name in usual if name in table.names and name not in columns.values()), None)
    if column is None:
        raise InputError(
            f"{table.source}: name the column of the {what or role} with data.{role}; it has: {', '.join(table.names)}."
        )
    return column


def _near_name(name: str, names: Sequence[str]) -> str:
    likely = [other for other in names[:MOST_LIKENED] if len(other) <= LONGEST_LIKENED]
    near = difflib.get_close_matches(name[:LONGEST_LIKENED], likely, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _other_delimiter(names: Sequence[str]) -> str:
    """A hint for files whose header is one column because something else divides it."""
    kinds = {
        ";": "semicolons; write it with commas",
        "\t": "tabs; let its name end in .tsv",
        ",": "commas; let its name end in .csv",
    }
    delimiter = next((what for character, what in kinds.items() if len(names) == 1 and character in names[0]), None)
    return f" The columns seem to be parted by {delimiter}." if delimiter else ""


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name if len(name) <= 40 and name.isprintable() else shown(name, 40) for name in names[:MOST_LISTED])
    return listed + (f", ... ({len(names):,} columns)" if len(names) > MOST_LISTED else "")
