from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.tasks.data.files import read_file


def _write(folder: Path, content: str, name: str = "a.tsv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_a_million_columns_are_refused_at_once(tmp_path: Path, name: str, delimiter: str) -> None:
    path = _write(tmp_path, delimiter.join(f"c{index}" for index in range(1_000_000)) + "\nx\n", name)
    started = time.process_time()
    with pytest.raises(InputError, match="has more than 10,000 columns; give those of text and label alone") as raised:
        read_file(path, {"text": "c5", "label": "c7"})
    assert time.process_time() - started < 2
    assert len(str(raised.value)) < 300


def test_a_row_of_a_million_fields_is_told_and_not_counted_out(tmp_path: Path) -> None:
    path = _write(tmp_path, "text\tlabel\na\tx\n" + "\t" * 1_000_000 + "\n")
    with pytest.raises(InputError, match="line 3 has more than 10000 fields, the header 2"):
        read_file(path, {})


def test_ten_thousand_columns_are_read(tmp_path: Path) -> None:
    names = ["text", "label", *(f"c{index}" for index in range(9_998))]
    path = _write(tmp_path, "\t".join(names) + "\n" + "\t".join(["a", "x", *["1"] * 9_998]) + "\n")
    assert read_file(path, {}).texts == ("a",)


@pytest.mark.parametrize("header", ["text\tlabel\ttext", "text\tlabel\t text ", "text\tlabel\tx\tx"])
def test_columns_of_one_name_are_refused_after_stripping_too(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match="stands there twice; rename one"):
        read_file(_write(tmp_path, header + "\n" + "\t".join("abcd"[: header.count("\t") + 1])), {})


def test_a_field_of_megabytes_is_read_and_the_csv_module_keeps_its_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    text = "word " * 4_000_000
    assert read_file(_write(tmp_path, f'text,label\n"{text}",x\n', "a.csv"), {}).texts == (text.strip(),)
    assert csv.field_size_limit() == before
    with pytest.raises(InputError, match="close the quotation marks"):
        read_file(_write(tmp_path, 'text,label\n"open', "a.csv"), {})
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text;label\na;x\n", "seem to be parted by semicolons"),
        ("a.csv", "text\tlabel\na\tx\n", r"let its name end in \.tsv"),
        ("a.tsv", "text,label\na,x\n", r"let its name end in \.csv"),
        ("a.tsv", "t" * 200_000 + "\tlabel\n", r"\(200,000 characters\)"),
        ("a.tsv", "x" * 10_000_000, r"\(10,000,000 characters\)"),
    ],
)
def test_headers_that_name_no_text_are_shown_short_and_with_a_hint(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_file(_write(tmp_path, content, name), {})
    assert len(str(raised.value)) < 500


def test_a_column_that_is_not_there_is_shown_short(tmp_path: Path) -> None:
    path = _write(tmp_path, "\t".join(["label", *("x" * 50_000 + str(index) for index in range(50))]) + "\n")
    with pytest.raises(InputError) as raised:
        read_file(path, {"text": "y" * 300_000})
    assert len(str(raised.value)) < 4000
