from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from compress.errors import InputError
from compress.tasks.data.files import read_file
from compress.tasks.data.rows import Rows

ROWS = 20


def _write(path: Path, column: str, values: list[Any]) -> Path:
    """A file in which one column has these values and the other one is fine."""
    other = "label" if column == "text" else "text"
    rows = [{column: value, other: f"x{index % 2}"} for index, value in enumerate(values)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        columns = {column: values, other: [row[other] for row in rows]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def _read(path: Path) -> Rows:
    return read_file(path, {})


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0, 2], r"is a list, not a .*: \[0, 2\]"),
        (["a", "b"], "is a list"),
        ({"a": 1}, "is an object, not"),
        (float("nan"), "is NaN"),
        (float("inf"), "is an infinite number"),
        (-float("inf"), "is an infinite number"),
        ([], "is a list"),
        ({}, "is an object"),
        ([None], "is a list"),
        (None, "is empty"),
        ("", "is empty"),
        ("\ud83d", "holds half a character"),
        ("a \udc80 b", r"holds half a character \('\\udc80'"),
        ("a\0b", "holds a NUL character"),
        ("x" + "\0", "holds a NUL"),
        ([["x" * 200_000]], r"is a list, .*\.\.\. \(200,000 characters\)"),
    ],
)
def test_what_is_no_text_and_no_label_is_refused_with_its_row(
    tmp_path: Path, name: str, column: str, value: object, said: str
) -> None:
    path = _write(tmp_path / name, column, ["fine", "good", value, "fine"])
    with pytest.raises(InputError, match=f"(line|row) 3, column '{column}' {said}") as raised:
        _read(path)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0, 2], [1]], "is a list"),
        ([["a", "b"], ["c"]], "is a list"),
        ([{"a": 1}, {"a": 2}], "is an object"),
        ([b"ab", b"cd"], "is binary data"),
        ([datetime.date(2020, 1, 1)] * 2, "is a date or time"),
        ([datetime.datetime(2020, 1, 1, 12)] * 2, "is a date or time"),
        ([datetime.timedelta(1)] * 2, "is a date or time"),
        ([1.0, float("nan")], "is NaN"),
        ([float("inf"), 1.0], "is an infinite number"),
        ([None, "a"], "is empty"),
        ([None, None], "is empty"),
        ([1, None], "is empty"),
    ],
)
def test_parquet_of_what_is_no_text_and_no_label_is_refused(
    tmp_path: Path, column: str, values: list[object], said: str
) -> None:
    with pytest.raises(InputError, match=rf"row \d, column '{column}' {said}"):
        _read(_write(tmp_path / "a.parquet", column, values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, "1"], r"line 2, column 'label' is a text \('1'\), but line 1 has a number \(1\)"),
        ([True, "true"], r"line 2, column 'label' is a text \('true'\), but line 1 has true or false"),
        ([1.0, "1.5"], "is a text"),
        ([0, True], "is true or false"),
        ([False, 0.0], "is a number"),
        (["a", 1], "is a number"),
        (["a", "nan"], "line 2, column 'label' is nan, which stands for a label that is missing"),
        (["a", "NaN"], "is NaN"),
        (["a", "<NA>"], "is <NA>"),
    ],
)
def test_labels_of_several_kinds_in_one_column_are_refused(tmp_path: Path, values: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _read(_write(tmp_path / "a.jsonl", "label", values))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 0], ("1", "0")),
        ([1, 1.0, 0.0], ("1", "1", "0")),
        ([0.5, 1.5], ("0.5", "1.5")),
        ([True, False], ("true", "false")),
        ([-1, 1], ("-1", "1")),
        (["true", "false"], ("true", "false")),
        (["none", "NA"], ("none", "NA")),
        ([1e300], ("1e+300",)),
        (["٣", "²"], ("٣", "²")),
    ],
)
def test_labels_of_one_kind_are_read(tmp_path: Path, values: list[object], labels: tuple[str, ...]) -> None:
    assert _read(_write(tmp_path / "a.jsonl", "label", values)).labels == labels


def test_texts_that_are_numbers_are_read_as_their_digits(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", "text", [12, 1.5, 2.0, "12", "1.50"])
    assert _read(path).texts == ("12", "1.5", "2.0", "12", "1.50")
    with pytest.raises(InputError, match="line 1, column 'text' is true or false, not a text: True"):
        _read(_write(tmp_path / "b.jsonl", "text", [True, "b"]))


@pytest.mark.parametrize(
    ("array", "labels"),
    [
        (pyarrow.array([0, 1], pyarrow.int8()), ("0", "1")),
        (pyarrow.array([0.0, 1.0]), ("0", "1")),
        (pyarrow.array([0.1, 0.5], pyarrow.float32()), ("0.1", "0.5")),
        (pyarrow.array([True, False]), ("true", "false")),
        (pyarrow.array(["b", "a"]).dictionary_encode(), ("b", "a")),
        (pyarrow.array(["b", "a"], pyarrow.large_string()), ("b", "a")),
        (pyarrow.array([Decimal("1.00"), Decimal("2.50")]), ("1", "2.50")),
        (pyarrow.array([2**63], pyarrow.uint64()), (str(2**63),)),
        (pyarrow.array([3, 4]).dictionary_encode(), ("3", "4")),
    ],
)
def test_columns_of_parquet_are_read_by_their_types(tmp_path: Path, array: pyarrow.Array, labels: tuple[str, ...]) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"t{index}" for index in range(len(array))]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": array, "image": [b"x"] * len(array)}), path)
    assert _read(path).labels == labels


def test_a_number_of_6000_digits_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": ' + "9" * 6000 + "}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2 is no JSON \(a number of more than 4,300 digits\)"):
        _read(path)
