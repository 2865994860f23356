from __future__ import annotations

import bz2
import gzip
import logging
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from compress.errors import InputError
from compress.tasks.split import Split
from compress.tasks.unlabelled import check_unlabelled, read_unlabelled


def _write(folder: Path, content: str | bytes, name: str = "texts.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_each_line_of_plain_text_is_a_text_without_label_to_learn_from(tmp_path: Path) -> None:
    source = read_unlabelled(_write(tmp_path, b"\xef\xbb\xbf one text \r\n\r\n  \nanother\x0bone\nthe last"))
    assert source.split.texts == ("one text", "another\x0bone", "the last")
    assert source.split.require("train").pairs is None
    assert source.split.labels.tolist() == [-1, -1, -1]
    assert source.split.labels.dtype == np.int64
    assert source.removed == {}


def test_paragraphs_end_at_empty_lines_and_their_lines_are_joined(tmp_path: Path) -> None:
    path = _write(tmp_path, "one\r\n  two\r\n \t\r\n\n\nthree\n")
    assert read_unlabelled(path, parted_by="paragraph").split.texts == ("one two", "three")


def test_a_packed_file_gives_the_same_texts_and_fingerprint(tmp_path: Path) -> None:
    plain = read_unlabelled(_write(tmp_path, "é one\ntwo\n"))
    packed = read_unlabelled(_write(tmp_path, gzip.compress("é one\ntwo\n".encode()), "texts.txt.gz"))
    assert packed.split.texts == plain.split.texts == ("é one", "two")
    assert packed.fingerprint == plain.fingerprint


def test_copies_are_left_out_and_counted_and_the_first_of_them_keeps_its_place(tmp_path: Path) -> None:
    source = read_unlabelled(_write(tmp_path, "b\na\nb \n\nc\na\nb\n"))
    assert source.split.texts == ("b", "a", "c")
    assert source.removed == {"copies": 3}


def test_texts_that_are_kin_of_rows_kept_apart_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zeros = np.zeros(1, dtype=np.int64)
    measured = Split("evaluation", ("the plot of this film is thin",), None, zeros)
    selected = Split("selection", ("A fine film, she said.",), None, zeros)
    lines = [
        "it is said the plot of this film is thin again",
        "plot of this film",
        "a FINE film she said",
        "fine film",
        "others",
    ]
    with caplog.at_level(logging.WARNING, "compress"):
        source = read_unlabelled(_write(tmp_path, "\n".join(lines)), apart_from=(measured, selected))
    assert source.split.texts == ("fine film", "others")
    assert source.removed == {"kin of rows that are kept apart": 3}
    assert "3 texts" in caplog.text
    assert "evaluation or selection data" in caplog.text


def test_pairs_without_labels_are_kin_of_pairs_that_are_kept_apart(tmp_path: Path) -> None:
    measured = Split("further", ("two women hold a child",), ("they are sisters",), np.zeros(1, dtype=np.int64))
    path = _write(tmp_path, "text\tpair\nboth run\tTwo women hold a child\nboth run\tthey are sisters\n", "pairs.tsv")
    source = read_unlabelled(path, apart_from=measured)
    assert (source.split.texts, source.split.pairs) == (("both run",), ("they are sisters",))


def test_texts_of_the_data_to_measure_on_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    measured = Split("evaluation", ("b ", "x", "c"), None, np.zeros(3, dtype=np.int64))
    path = _write(tmp_path, "a\nb\nb\nc\nd\n")
    with caplog.at_level(logging.WARNING, "compress"):
        source = read_unlabelled(path, apart_from=measured)
    assert source.split.texts == ("a", "d")
    assert source.removed == {"copies": 1, "also in the evaluation data": 2}
    assert "2 texts" in caplog.text
    with pytest.raises(InputError, match="holds no text that is not in the data to measure on"):
        read_unlabelled(_write(tmp_path, "b\nc\n"), apart_from=measured)


def test_a_limit_chooses_texts_by_their_content_and_keeps_their_order(tmp_path: Path) -> None:
    lines = [f"text {index}" for index in range(400)]
    chosen = read_unlabelled(_write(tmp_path, "\n".join(lines)), rows=50).split.texts
    numbers = [int(text[5:]) for text in chosen]
    assert len(numbers) == 50
    assert numbers == sorted(numbers)
    assert 100 < np.mean(numbers) < 300
    assert set(read_unlabelled(_write(tmp_path, "\n".join(lines[::-1])), rows=50).split.texts) == set(chosen)
    assert len(read_unlabelled(_write(tmp_path, "a\nb"), rows=50).split) == 2


def test_the_fingerprint_is_that_of_the_texts_and_their_order(tmp_path: Path) -> None:
    first, same, turned, other = (
        read_unlabelled(_write(tmp_path, content, f"{index}.txt")).fingerprint
        for index, content in enumerate(["a\nb", " a\n\nb\n", "b\na", "a\nc"])
    )
    assert first == same
    assert len({first, turned, other}) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "sentence1\tsentence2\none\ttwo\nthree\tfour\none\ttwo\n"),
        ("a.csv", "premise,hypothesis\none,two\nthree,four\none,two\n"),
        ("a.jsonl", '{"text": "one", "pair": "two"}\n{"text": "three", "pair": "four"}\n{"text": "one", "pair": "two"}\n'),
    ],
)
def test_tables_need_no_label_and_may_hold_pairs(tmp_path: Path, name: str, content: str) -> None:
    source = read_unlabelled(_write(tmp_path, content, name))
    assert source.split.texts == ("one", "three")
    assert source.split.pairs == ("two", "four")
    assert source.split.labels.tolist() == [-1, -1]
    assert source.removed == {"copies": 1}


def test_the_text_of_a_table_can_be_any_of_its_columns_and_labels_are_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"label": [1, None], "note": ["one", "two"], "text": ["", ""]}), path)
    assert read_unlabelled(path, text="note").split.texts == ("one", "two")


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.txt", "", {}, "holds no text; give a file with one text per line"),
        ("a.txt", " \n\r\n", {"parted_by": "paragraph"}, "holds no text; give a file with one text per paragraph"),
        ("a.txt", b"fine\ncaf\xe9\n", {}, "line 2: byte 0xe9 is no UTF-8"),
        ("a.txt", "x", {"text": "note"}, "plain text, which has no column 'note'"),
        ("a.txt", "x", {"parted_by": "word"}, "parted_by is 'word'; allowed: line, paragraph"),
        ("a.txt", "x", {"rows": 0}, "rows is 0; use 1 or more"),
        ("a.txt.gz", "no gzip", {}, "is no gzip file, or a damaged one"),
        ("a.txt.gz", gzip.compress(b"some text" * 99, mtime=0)[:-9], {}, "is no gzip file, or a damaged one"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), {}, "holds no text"),
        ("a.docx", "x", {}, r"ends in '\.docx'; allowed: \.txt, \.tsv, \.csv, \.jsonl, \.parquet, .* each also packed"),
        ("a.tsv", "words\nx\n", {}, "which column is the text"),
        ("a.tsv", "text\nx\n", {"text": "txt"}, "no column 'txt' .*Did you mean 'text'"),
        ("a.tsv", "text\tlabel\n\tx\n", {}, "line 2, column 'text' is empty"),
        ("a.tsv", "", {}, "is empty"),
    ],
)
def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_unlabelled(_write(tmp_path, content, name), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "é\n" * 90_000),
        ("a.txt.gz", gzip.compress("é\n".encode() * 90_000)),
        ("a.tsv", "text\na\n"),
        ("a.jsonl", '{"text": "a"}'),
        ("a.txt", "x" * 200_000),
        ("a.txt", "\ufeffé\n".encode("utf-16") * 60_000),
        ("a.zip", b"PK"),
        ("a.txt", "é" * 90_001),
    ],
)
def test_a_look_at_the_beginning_of_a_file_lets_texts_pass(tmp_path: Path, name: str, content: str | bytes) -> None:
    check_unlabelled(_write(tmp_path, content, name))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "is empty"),
        ("a.txt", "\n \n", "is empty"),
        ("a.txt", b"caf\xe9\n", "is no UTF-8"),
        ("a.txt.gz", "x", "no gzip file"),
        ("a.parquet", "x", "is no Parquet file"),
        ("a.txt", b"PK\x03\x04", "is no text but a zip file"),
        ("a.docx", "x", "ends in"),
        ("a.tsv", b"\xff" * 100_000, "is no UTF-8"),
    ],
)
def test_a_look_at_the_beginning_of_a_file_finds_what_is_none(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        check_unlabelled(_write(tmp_path, content, name))
    with pytest.raises(InputError, match="does not exist"):
        check_unlabelled(tmp_path / "nowhere.txt")


def test_packed_text_and_text_of_other_encodings_is_read(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt.bz2", bz2.compress(b"one\ntwo")),
        ("b.txt", "\ufeffone\ntwo".encode("utf-16-le")),
        ("c.txt", b"one\rtwo\r"),
        ("d.json", b'[{"text": "one"}, {"text": "two"}]'),
    ):
        assert read_unlabelled(_write(tmp_path, content, name)).split.texts == ("one", "two")
    with pytest.raises(InputError, match="line 2: there is a NUL character"):
        read_unlabelled(_write(tmp_path, "one\nt\0wo\n"))


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    _write(tmp_path, "x")
    with pytest.raises(InputError, match=r"does not exist\. Did you mean .*texts\.txt"):
        read_unlabelled(tmp_path / "text.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_unlabelled(tmp_path)
