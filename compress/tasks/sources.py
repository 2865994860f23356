"""Rows out of files: TSV, CSV, JSONL and Parquet, every mistake with file, line and column."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import InputError

TEXT_COLUMNS = ("text", "sentence", "sentence1", "premise", "question", "question1", "review", "content", "tweet")
PAIR_COLUMNS = ("text_pair", "pair", "sentence2", "hypothesis", "question2")
LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment")
QUOTINGS = ("csv", "none")
MOST_SHOWN = 10
Record = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """Rows as they stand in a source.

    Args:
        source: The file, or the data set and its split.
        texts: The first text of each row.
        pairs: The second; None for single texts.
        labels: As text: a name or an id.
        lines: Where each row stands, counted from 1.
        label_column: What the labels' column is called.
    """

    source: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    label_column: str = "label"

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
        )

    def keys(self) -> list[str]:
        """What makes a row the same as another: its texts."""
        seconds = self.pairs or [""] * len(self)
        return [f"{text}\x1f{pair}" for text, pair in zip(self.texts, seconds, strict=True)]


def read_file(path: Path, columns: Mapping[str, str], quoting: str | None = None, *, labelled: bool = True) -> Rows:
    """Read a file's rows.

    Args:
        path: Ends in .tsv, .csv, .jsonl or .parquet.
        columns: `text`, `pair`, `label` -> column; those left out are found by their usual names.
        quoting: "csv" or "none"; None takes "none" for .tsv and "csv" for .csv.
        labelled: Whether there are labels; without, each row's is empty.

    Raises:
        InputError: The file is missing, empty, of another kind or broken, or rows of it are; the first ten are named.
    """
    content = content_of(path, SUFFIXES)
    if quoting is not None and quoting not in QUOTINGS:
        raise InputError(f"data.quoting is {quoting!r}; allowed: {', '.join(QUOTINGS)}.")
    if not content.strip():
        raise InputError(f"data file {path} is empty; it needs a header and rows.")
    mistakes = _Mistakes(str(path))
    names, records = _READERS[path.suffix.lower()](path, content, quoting, mistakes)
    return collect(str(path), names, records, columns, mistakes, labelled=labelled)


def content_of(path: Path, suffixes: Sequence[str]) -> bytes:
    """Read a data file whole.

    Args:
        path: The file.
        suffixes: What its name may end in.

    Raises:
        InputError: It is missing, a folder, of another kind, or cannot be read.
    """
    if path.is_dir():
        raise InputError(f"data file {path} is a folder; name a file in it.")
    if not path.is_file():
        raise InputError(f"data file {path} does not exist.{_near(path)} Give a file that ends in {', '.join(suffixes)}.")
    if not path.name.lower().endswith(tuple(suffixes)):
        raise InputError(f"data file {path} ends in {path.suffix!r}; allowed: {', '.join(suffixes)}. Convert it.")
    try:
        return path.read_bytes()
    except OSError as err:
        raise InputError(f"data file {path} cannot be read: {err.strerror}.") from err


def collect(
    source: str, names: Sequence[str], records: Iterator[Record], columns: Mapping[str, str],
    mistakes: _Mistakes | None = None, *, labelled: bool = True,
) -> Rows:  # fmt: skip
    """Take text, pair and label out of records of (line, column -> value), and refuse what is empty or of no use."""
    noted = mistakes or _Mistakes(source)
    text, pair, label = _columns(source, names, columns, labelled)
    texts, pairs, labels, lines = [], [], [], []
    for line, record in records:
        values = {column: _as_text(record.get(column)) for column in (text, pair, label) if column}
        for column, value in values.items():
            if not value:
                noted.add(line, column, "is empty")
        texts.append(values[text])
        pairs.append(values[pair] if pair else "")
        labels.append(values[label] if label else "")
        lines.append(line)
    noted.tell()
    if not texts:
        raise InputError(f"data file {source} has a header but no rows; add rows, or name another file.")
    return Rows(source, tuple(texts), tuple(pairs) if pair else None, tuple(labels), tuple(lines), label or "")


class _Mistakes:
    """Mistakes of one file, told together."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[str] = []
        self.count = 0

    def add(self, line: int, column: str | None, what: str) -> None:
        self.count += 1
        if self.count <= MOST_SHOWN:
            where = f", column {column!r}" if column else ""
            self.found.append(f"  line {line}{where} {what}")

    def tell(self) -> None:
        if self.count:
            more = [f"  and {self.count - MOST_SHOWN} more"] if self.count > MOST_SHOWN else []
            heading = f"{self.source}: rows that cannot be used; correct or remove them:"
            raise InputError("\n".join([heading, *self.found, *more]))


def _columns(
    source: str, names: Sequence[str], columns: Mapping[str, str], labelled: bool
) -> tuple[str, str | None, str | None]:
    missing = {role: name for role, name in columns.items() if name not in names}
    if missing:
        role, name = next(iter(missing.items()))
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{source} has no column {name!r} (data.{role}).{hint} It has: {_listed(names)}.")
    found: dict[str, str | None] = {}
    for role, usual in (("text", TEXT_COLUMNS), ("label", LABEL_COLUMNS), ("pair", PAIR_COLUMNS)):
        taken = set(columns.values()) | set(found.values())
        found[role] = columns.get(role) or next((name for name in usual if name in names and name not in taken), None)
    if "text" in columns and "pair" not in columns:
        found["pair"] = None
    if not labelled:
        found["label"] = None
    for role in ("text", "label") if labelled else ("text",):
        if found[role] is None:
            raise InputError(f"{source}: which column is the {role}? Name it with data.{role}; it has: {_listed(names)}.")
    told = [name for name in found.values() if name is not None]
    if len(set(told)) < len(told):
        raise InputError(f"{source}: text, pair and label are columns of their own, not {', '.join(told)}.")
    return str(found["text"]), found["pair"], found["label"]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:20])
    return shown + (", ..." if len(names) > 20 else "")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()], n=1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def decoded(path: Path, content: bytes) -> str:
    """A file's text, without a byte order mark.

    Raises:
        InputError: It is no UTF-8; the message names the line.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        raise InputError(
            f"{path}, line {line}: byte 0x{content[err.start]:02x} is no UTF-8; convert the file "
            f"(iconv -f latin1 -t utf-8 {path.name} > fixed{path.suffix}) if you know its encoding."
        ) from err


def _read_table(delimiter: str, usual: str) -> Callable[..., tuple[list[str], Iterator[Record]]]:
    def read(path: Path, content: bytes, quoting: str | None, mistakes: _Mistakes) -> tuple[list[str], Iterator[Record]]:
        text = decoded(path, content)
        lines = _unquoted(text, delimiter) if (quoting or usual) == "none" else _quoted(path, text, delimiter)
        header = [name.strip() for name in next(lines, (1, []))[1]]
        repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
        if repeated:
            raise InputError(f"{path}, line 1: column {repeated[0]!r} stands there twice; rename one.")

        def records() -> Iterator[Record]:
            for line, fields in lines:
                if not fields or fields == [""]:
                    continue
                if len(fields) != len(header):
                    mistakes.add(line, None, f"has {len(fields)} fields, the header {len(header)}")
                    continue
                yield line, dict(zip(header, fields, strict=True))

        return header, records()

    return read


def _unquoted(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.rstrip("\r").split(delimiter)


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(1 << 24)
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


def _read_jsonl(path: Path, content: bytes, _: str | None, mistakes: _Mistakes) -> tuple[list[str], Iterator[Record]]:
    records: list[Record] = []
    for line, text in enumerate(decoded(path, content).split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as err:
            mistakes.add(line, None, f"is no JSON ({err})")
            continue
        if not isinstance(value, dict):
            mistakes.add(line, None, f"holds a {type(value).__name__}, not an object")
            continue
        records.append((line, value))
    if not records:
        mistakes.tell()
    return list(dict.fromkeys(name for _, record in records[:100] for name in record)), iter(records)


def _read_parquet(path: Path, content: bytes, _: str | None, mistakes: _Mistakes) -> tuple[list[str], Iterator[Record]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError, ValueError) as err:
        raise InputError(f"{path} is no Parquet file, or a damaged one ({str(err).splitlines()[0]}); write it again.") from err
    return list(table.column_names), iter(enumerate(table.to_pylist(), 1))


_READERS: dict[str, Callable[..., tuple[list[str], Iterator[Record]]]] = {
    ".tsv": _read_table("\t", "none"),
    ".csv": _read_table(",", "csv"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
