"""Files of any content: what comes out is a task that holds what the file holds, or an InputError."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

import compress as cp
from compress.errors import InputError
from compress.tasks import evaluation_task
from compress.tasks.labelled import Task

FORMATS = (".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".parquet")
ENCODINGS = (*("utf-8",) * 9, "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "utf-16-le", "gb18030")
WORDS = (
    "a good film",
    "ein guter Film",
    "un café",
    "好电影",
    " x ",
    "12",
    "1.50",
    "nan",
    "",
    '“quoted” "text"',
    "a,b;c",
    "ƒ\u2028b",
)
LABEL_SETS = (
    ("no", "yes"),
    ("0", "1", "2"),
    (0, 1),
    (1.0, 0.0),
    (True, False),
    ("1", "1.0"),
    (1, "1"),
    (0.5, 1.5),
    ("true", "false"),
    ("1 star", "2 stars"),
    ("a", None),
    ("x", "nan"),
    ([0], [1, 2]),
    ("9" * 5000, "1"),
    ("²", "٣"),
)
PLAIN_LABELS = (("no", "yes"), ("0", "1"), (0, 1), ("no", "yes", "yes"))
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**5000, -1, "\ud83d", "\0", b"x"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
COLUMN_NAMES = st.one_of(st.sampled_from(("text", "label", "pair", "sentence", "id", " text", "")), st.text(max_size=4))


@st.composite
def frames(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of equal length; most have a text and a label of few values, and some values are of any kind."""
    count = draw(st.sampled_from((60, 40, 18, 1, 0)))
    names = draw(st.sampled_from(("text", "sentence"))), draw(st.sampled_from(("label", "label", "class")))
    labels = draw(st.one_of(st.sampled_from(PLAIN_LABELS), st.sampled_from(LABEL_SETS)))
    texts = draw(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=12)), min_size=1, max_size=12))
    is_clean = draw(st.sampled_from((True, True, True, False)))
    columns = {
        names[0]: [f"{texts[row % len(texts)]} {row}" if is_clean else texts[row % len(texts)] for row in range(count)],
        names[1]: [labels[row % len(labels)] for row in range(count)],
    }
    for name in draw(st.lists(COLUMN_NAMES, max_size=2)):
        columns.setdefault(name, [str(row) for row in range(count)])
    if count and draw(st.integers(0, 4)) == 4:
        column = columns[draw(st.sampled_from(sorted(columns)))]
        column[draw(st.integers(0, count - 1))] = draw(ODD)
    return columns


def _written(columns: dict[str, list[Any]], ending: str, encoding: str) -> bytes:
    """The bytes of a file with these columns, written without the code under test."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if ending == ".parquet":
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()}), buffer)
        return buffer.getvalue()
    if ending in (".jsonl", ".ndjson"):
        text = "".join(json.dumps(row, ensure_ascii=len(row) % 2 == 0) + "\n" for row in rows)
    elif ending == ".json":
        text = json.dumps((rows, {"data": rows}, columns)[len(rows) % 3])
    elif ending == ".csv":
        buffer_of_text = io.StringIO()
        csv.writer(buffer_of_text).writerows([list(columns), *(list(row.values()) for row in rows)])
        text = buffer_of_text.getvalue()
    else:
        text = "".join("\t".join(map(str, fields)) + "\n" for fields in [list(columns), *(row.values() for row in rows)])
    return text.encode(encoding, errors="replace")


def _packed(content: bytes, ending: str, packing: str) -> bytes:
    if packing == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"data{ending}", content)
        return buffer.getvalue()
    return {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[packing](content)


def _plain(value: Any, *, is_label: bool) -> str:
    """What a value of a file is as text, by the rules that README and docstrings state."""
    if isinstance(value, bool):
        assert is_label
        return "true" if value else "false"
    if is_label and isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return value.strip() if isinstance(value, str) else str(value)


def _held(content: bytes, ending: str) -> list[dict[str, Any]]:
    """The rows of a file as another reader gives them."""
    if ending == ".parquet":
        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16"}
    text = content.decode(next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8"))
    if ending in (".csv", ".tsv"):
        how: dict[str, Any] = {"sep": ","}
        if ending == ".tsv":
            how = {"sep": "\t", "quoting": csv.QUOTE_NONE, "lineterminator": "\n"}
        table = pandas.read_csv(
            io.StringIO(text, newline=""), dtype=str, keep_default_na=False, header=None, engine="c", **how
        )
        names = [str(name).strip() for name in table.iloc[0]]
        return [dict(zip(names, row, strict=True)) for row in table.iloc[1:].itertuples(index=False)]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    value = value.get("data", value) if isinstance(value, dict) and isinstance(value.get("data"), list) else value
    if isinstance(value, list):
        return value
    return (
        [value]
        if not isinstance(next(iter(value.values())), list)
        else [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    )


def _rows_of(task: Task) -> Counter[tuple[str, ...]]:
    return Counter(
        (text, task.labels[label])
        for split in task.splits()
        for text, label in zip(split.texts, split.labels.tolist(), strict=True)
    )


def _check_rows(task: Task, rows: list[dict[str, Any]]) -> None:
    """The task has the rows of the file: all of them, each with its own label."""
    text = next(name for name in ("text", "sentence") if name in rows[0])
    label = next(name for name in ("label", "class") if name in rows[0])
    expected = Counter((_plain(row[text], is_label=False), _plain(row[label], is_label=True)) for row in rows)
    assert _rows_of(task) == expected


def _read(path: Path) -> tuple[Task | None, Task | None]:
    """The file as a task and as one to measure on; None where an InputError says why not."""
    read: list[Task | None] = []
    refusals: list[str] = []
    for reader in (lambda: cp.task({"train": str(path)}), lambda: evaluation_task(path, labels=("no", "yes"))):
        try:
            read.append(reader())
        except InputError as err:
            refusals.append(str(err))
            read.append(None)
    for said in refusals:
        assert str(path.parent) in said
        assert len(said) < 10_000
        said.encode()  # can be printed and written
    return read[0], read[1]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    frames(), st.sampled_from(FORMATS), st.sampled_from(ENCODINGS), st.sampled_from(("", "", "", ".gz", ".bz2", ".xz", ".zip"))
)
def test_a_file_of_any_columns_gives_a_task_with_its_rows_or_is_refused(
    columns: dict[str, list[Any]], ending: str, encoding: str, packing: str
) -> None:
    try:
        content = _written(columns, ending, encoding)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError, csv.Error):
        assume(False)  # the format cannot hold these values
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}{packing}"
        path.write_bytes(_packed(content, ending, packing))
        task, measured = _read(path)
    event(f"{ending}: {'a task' if task is not None else 'measured on' if measured is not None else 'refused'}")
    if task is not None:
        _check_rows(task, _held(content, ending))
    if measured is not None:
        rows = _held(content, ending)
        label = next(name for name in ("label", "class") if name in rows[0])
        ids = {"0": "no", "1": "yes", "0.0": "no", "1.0": "yes"}
        named = [{**row, label: ids.get(_plain(row[label], is_label=True), row[label])} for row in rows]
        _check_rows(measured, named)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(frames(), st.sampled_from(FORMATS), st.sampled_from(("", ".gz", ".bz2", ".xz", ".zip")), st.data())
def test_a_damaged_file_is_refused_or_gives_what_it_still_holds(
    columns: dict[str, list[Any]], ending: str, packing: str, data: st.DataObject
) -> None:
    try:
        content = _packed(_written(columns, ending, "utf-8"), ending, packing)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError, csv.Error):
        assume(False)
        return
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}{packing}"
        path.write_bytes(damaged)
        _read(path)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda end: b"text\tlabel\n" + end),
        st.binary(max_size=200).map(lambda end: b'{"text": "a", "label": "no"}\n' + end),
        st.text().map(str.encode),
    ),
    st.sampled_from([ending + packing for ending in FORMATS for packing in ("", ".gz", ".zip")]),
)
def test_bytes_of_any_kind_are_refused_or_read(content: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}"
        path.write_bytes(content)
        _read(path)
