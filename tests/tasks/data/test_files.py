from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from compress.errors import InputError
from compress.tasks.data.files import read_file


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_tsv_is_read_without_quoting(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", 'sentence\tlabel\n"half quoted\t1\nit \'s " fine \t0\n')
    rows = read_file(path, {})
    assert rows.texts == ('"half quoted', "it 's \" fine")
    assert rows.labels == ("1", "0")
    assert rows.lines == (2, 3)
    assert rows.pairs is None


def test_a_csv_is_read_with_quoting_and_counts_the_lines_inside_a_field(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", 'text,label\n"one, two\nthree",x\nfour,y\n')
    rows = read_file(path, {})
    assert rows.texts == ("one, two\nthree", "four")
    assert rows.lines == (2, 4)


def test_quoting_can_be_turned_on_for_a_tsv(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", 'text\tlabel\n"tab\there"\tx\n')
    assert read_file(path, {}, "csv").texts == ("tab\there",)


def test_windows_line_ends_a_byte_order_mark_and_a_missing_last_line_end_do_no_harm(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", b"\xef\xbb\xbftext\tlabel\r\none\tx\r\ntwo\ty")
    rows = read_file(path, {})
    assert rows.texts == ("one", "two")
    assert rows.labels == ("x", "y")


def test_unusual_line_separators_inside_a_text_do_not_end_a_row(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", "text\tlabel\none\u2028two\x0bthree\tx\n")
    assert read_file(path, {}).texts == ("one\u2028two\x0bthree",)


def test_jsonl_labels_may_be_numbers_booleans_or_names(tmp_path: Path) -> None:
    for values, labels in (([1, 2.0, 0.5], ("1", "2", "0.5")), ([True, False], ("true", "false")), ([" x", "1"], ("x", "1"))):
        path = _write(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": "t", "label": value}) for value in values))
        assert read_file(path, {}).labels == labels


def test_a_parquet_file_gives_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"premise": ["p1", "p2"], "hypothesis": ["h1", "h2"], "label": [0, 1]})
    pyarrow.parquet.write_table(table, path)
    rows = read_file(path, {})
    assert rows.texts == ("p1", "p2")
    assert rows.pairs == ("h1", "h2")
    assert rows.labels == ("0", "1")


def test_named_columns_are_taken(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", "a,b,c\none,two,x\n")
    rows = read_file(path, {"text": "b", "pair": "a", "label": "c"})
    assert (rows.texts, rows.pairs, rows.labels) == (("two",), ("one",), ("x",))


def test_a_named_text_alone_means_single_texts(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", "sentence1,sentence2,label\none,two,x\n")
    assert read_file(path, {"text": "sentence1"}).pairs is None
    assert read_file(path, {}).pairs == ("two",)


@pytest.mark.parametrize(
    ("name", "content", "columns", "expected"),
    [
        ("a.tsv", "", {}, "is empty"),
        ("a.tsv", " \n\n", {}, "is empty"),
        ("a.tsv", "text\tlabel\n", {}, "has a header but no rows"),
        ("a.tsv", "text\tlabel\n\tx\n", {}, "line 2, column 'text' is empty"),
        ("a.tsv", "text\tlabel\none\t \n", {}, "line 2, column 'label' is empty"),
        ("a.tsv", "text\tlabel\none\ttwo\tx\n", {}, "line 2 has 3 fields, the header 2"),
        ("a.tsv", "text\tlabel\none\n", {}, "line 2 has 1 fields, the header 2"),
        ("a.tsv", "text\ttext\nx\ty\n", {}, "column 'text' stands there twice"),
        ("a.tsv", "words\tlabel\nx\ty\n", {}, "which column is the text"),
        ("a.tsv", "text\tkind\nx\ty\n", {}, "which column is the label"),
        ("a.tsv", "text\tlabel\nx\ty\n", {"text": "txt"}, "no column 'txt' .*Did you mean 'text'.* It has: text, label"),
        ("a.tsv", "text\tlabel\nx\ty\n", {"text": "text", "label": "text"}, "columns of their own"),
        ("a.tsv", b"text\tlabel\nfine\tx\ncaf\xe9\ty\n", {}, "line 3: byte 0xe9 is no UTF-8"),
        ("a.csv", 'text,label\n"open,x\n', {}, "line 2: .*close the quotation marks"),
        ("a.csv", 'text,label\n"a"b,x\n', {}, "line 2"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', {}, "line 2 is no JSON"),
        ("a.jsonl", '{"text": "a", "label": 1}\n[1]\n', {}, "line 2 holds a list"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"label": 1}\n', {}, "line 2, column 'text' is empty"),
        ("a.jsonl", '{"text": "a", "label": null}\n', {}, "line 1, column 'label' is empty"),
        ("a.parquet", b"PAR1 nothing", {}, "no Parquet file"),
        ("a.xlsx", b"PK", {}, r"ends in '\.xlsx'; allowed: \.tsv, \.csv, \.jsonl, \.parquet, .* Save it as CSV"),
    ],
)
def test_bad_files_are_refused_with_where_and_what(
    tmp_path: Path, name: str, content: str | bytes, columns: dict[str, str], expected: str
) -> None:
    path = _write(tmp_path, name, content)
    with pytest.raises(InputError, match=expected) as raised:
        read_file(path, columns)
    assert name in str(raised.value)


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    _write(tmp_path, "train.tsv", "text\tlabel\nx\ty\n")
    with pytest.raises(InputError, match=r"does not exist\. Did you mean .*train\.tsv"):
        read_file(tmp_path / "trian.tsv", {})
    with pytest.raises(InputError, match="There is no folder"):
        read_file(tmp_path / "nowhere" / "train.tsv", {})


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_file(tmp_path, {})


def test_an_unknown_quoting_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", "text\tlabel\nx\ty\n")
    with pytest.raises(InputError, match=r"quoting is 'all'; allowed: csv, none"):
        read_file(path, {}, "all")


def test_of_many_bad_rows_the_first_ten_and_the_count_are_told(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", "text\tlabel\n" + "\tx\n" * 25)
    with pytest.raises(InputError, match="and 15 more") as raised:
        read_file(path, {})
    assert str(raised.value).count("column 'text' is empty") == 10
