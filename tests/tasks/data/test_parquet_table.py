from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from compress.errors import InputError
from compress.tasks import task
from compress.tasks.data import packing
from compress.tasks.data.files import read_file


def _write(path: Path, table: pyarrow.Table, **options: object) -> Path:
    pyarrow.parquet.write_table(table, path, **options)
    return path


def test_several_batches_and_groups_are_read_in_order(tmp_path: Path) -> None:
    texts, labels = [f"text {index}" for index in range(40_000)], [str(index % 3) for index in range(40_000)]
    table = pyarrow.table({"text": texts, "label": labels})
    rows = read_file(_write(tmp_path / "a.parquet", table, row_group_size=15_000), {})
    assert (rows.texts, rows.labels, rows.lines[-1]) == (tuple(texts), tuple(labels), 40_000)


def test_few_bytes_that_unpack_to_gigabytes_are_refused_before_they_do(tmp_path: Path) -> None:
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 20_000, pyarrow.int32()), pyarrow.array(["x" * 100_000]))
    path = _write(tmp_path / "a.parquet", pyarrow.table({"text": texts, "label": ["a", "b"] * 10_000}))
    assert path.stat().st_size < 20_000  # bytes, for two gigabytes of text
    with pytest.raises(InputError, match=r"unpacks to values of more bytes, which is more than a file of its size may"):
        read_file(path, {})


def test_a_file_of_few_bytes_and_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_LIMIT", 1 << 20)
    path = _write(tmp_path / "a.parquet", pyarrow.table({"text": ["x"] * 200_000, "label": ["a", "b"] * 100_000}))
    with pytest.raises(InputError, match="unpacks to 200,000 rows, which is more than"):
        read_file(path, {})


def test_pages_that_say_that_they_unpack_to_too_much_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_LIMIT", 1 << 20)
    table = pyarrow.table({"text": ["x" * 5_000_000, "y"], "label": ["a", "b"]})
    path = _write(tmp_path / "a.parquet", table, compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r"unpacks to 5,\d{3},\d{3} bytes, which is more than"):
        read_file(path, {})


def test_a_column_that_is_not_asked_for_may_hold_anything(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1], "image": [b"\xff", b"\0"], "tokens": [["a"], []]})
    assert read_file(_write(tmp_path / "a.parquet", table), {}).texts == ("a", "b")


def test_columns_that_stand_there_twice_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2 + [pyarrow.array(["x"])], names=["text", "text", "label"])
    with pytest.raises(InputError, match="column 'text' stands there twice"):
        read_file(_write(tmp_path / "a.parquet", table), {})


def test_strings_that_are_no_utf8_are_refused_with_their_row(tmp_path: Path) -> None:
    texts = pyarrow.array([b"fine", b"caf\xe9", b"fine"]).view(pyarrow.string())
    path = _write(tmp_path / "a.parquet", pyarrow.table({"text": texts, "label": ["x", "y", "x"]}))
    with pytest.raises(InputError, match="row 2, column 'text' is no UTF-8"):
        read_file(path, {})


def test_files_cut_anywhere_are_refused(tmp_path: Path) -> None:
    whole = _write(tmp_path / "a.parquet", pyarrow.table({"text": ["a", "b"] * 50, "label": [0, 1] * 50})).read_bytes()
    for length in range(1, len(whole), 37):
        (tmp_path / "b.parquet").write_bytes(whole[:length])
        with pytest.raises(InputError, match="no Parquet file, or a damaged one"):
            read_file(tmp_path / "b.parquet", {})


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "label": pyarrow.array([], pyarrow.int64())})
    with pytest.raises(InputError, match="no rows"):
        read_file(_write(tmp_path / "a.parquet", table), {})


FURTHER = [" ".join(f"w{row}x{place}" for place in range(9)) for row in range(60)]
NESTED: dict[str, tuple[dict[str, list[Any]], tuple[str, ...]]] = {
    "token-classification": (
        {"tokens": [text.split() for text in FURTHER], "ner_tags": [["O", "B-x", *["O"] * 7]] * 60},
        ("O", "B-x", "I-x"),
    ),
    "multi-label-classification": (
        {"text": FURTHER, "labels": [["joy", "love"] if row % 2 else ["joy"] for row in range(60)]},
        ("joy", "love"),
    ),
    "question-answering": (
        {"question": FURTHER, "context": FURTHER, "answers": [{"text": ["w"], "answer_start": [0]}] * 60},
        ("start", "end"),
    ),
}


@pytest.mark.parametrize("kind", NESTED)
def test_kinds_that_read_lists_and_objects_find_them(kind: str, tmp_path: Path) -> None:
    columns, labels = NESTED[kind]
    path = _write(tmp_path / "a.parquet", pyarrow.table(columns))
    assert task({"train": str(path)}, kind=kind).labels == labels
