from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import InputError
from compress.tasks.data.files import read_file

WESTERN = "text\tlabel\nfine\tx\nle café à côté\ty\n"


def _refusal(folder: Path, content: bytes, name: str = "a.tsv") -> str:
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_file(path, {})
    return str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.json"])
def test_a_file_with_a_mark_of_its_encoding_is_read(tmp_path: Path, encoding: str, name: str) -> None:
    text = {
        "a.tsv": WESTERN,
        "a.csv": WESTERN.replace("\t", ","),
        "a.jsonl": '{"text": "fine", "label": "x"}\n{"text": "le café à côté", "label": "y"}\n',
        "a.json": '[{"text": "fine", "label": "x"}, {"text": "le café à côté", "label": "y"}]',
    }[name]
    mark = "\ufeff" if encoding[-3:] in ("-le", "-be") else ""
    (tmp_path / name).write_bytes((mark + text).encode(encoding))
    rows = read_file(tmp_path / name, {})
    assert rows.texts == ("fine", "le café à côté")
    assert rows.labels == ("x", "y")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [WESTERN, "text\tlabel\nцикл зимы\tx\nживи щедрый\ty\n", "text\tlabel\n很好的电影\tx\n"])
def test_wide_encodings_without_a_mark_are_named(tmp_path: Path, encoding: str, text: str) -> None:
    assert f"iconv -f {encoding} -t utf-8 a.tsv > fixed.tsv" in _refusal(tmp_path, text.encode(encoding))


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (WESTERN, "latin1", "latin1"),
        (WESTERN + "a “quoted” film\tx\n", "cp1252", "cp1252"),
        (WESTERN + "for 5 €\tx\n", "cp1252", "cp1252"),
        ("text\tlabel\nun año\tx\n", "latin1", "latin1"),
    ],
)
def test_western_encodings_are_named_rightly(tmp_path: Path, text: str, encoding: str, named: str) -> None:
    said = _refusal(tmp_path, text.encode(encoding))
    assert "is no UTF-8" in said
    assert f"iconv -f {named} -t utf-8" in said


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("добрый день, плохой фильм", "cp1251"),
        ("добрый день, плохой фильм", "koi8_r"),
        ("很好的电影很好的电影", "gb18030"),
        ("とても良い映画です", "shift_jis"),
        ("아주 좋은 영화", "euc_kr"),
    ],
)
def test_of_other_encodings_those_that_fit_are_named(tmp_path: Path, text: str, encoding: str) -> None:
    assert encoding in _refusal(tmp_path, f"text\tlabel\n{text}\tx\n".encode(encoding))


def test_a_damaged_place_in_a_utf8_file_is_told_from_another_encoding(tmp_path: Path) -> None:
    said = _refusal(tmp_path, (WESTERN * 3).encode() + b"caf\xe9 noir\tx\n")
    assert "line 10: byte 0xe9 is no UTF-8, though the rest of the file is; mend that line" in said


def test_a_file_that_was_cut_within_a_character_is_told(tmp_path: Path) -> None:
    assert "as the file ends within a character; it was cut off" in _refusal(tmp_path, "text\tlabel\na\tx\ncafé".encode()[:-1])
    assert "begins with the mark of UTF-16-LE, but" in _refusal(tmp_path, "\ufefftext\tlabel\na\tx".encode("utf-16-le")[:-1])


def test_zero_bytes_are_refused_with_their_line(tmp_path: Path) -> None:
    assert "line 3: there is a NUL character" in _refusal(tmp_path, b"text\tlabel\na\tx\nb\0\0\tx\n")
    assert "line 2: there is a NUL character" in _refusal(tmp_path, b"text,label\na\0,x\n", "a.csv")


def test_line_ends_of_old_macs_end_lines(tmp_path: Path) -> None:
    for name, content in (
        ("a.tsv", "text\tlabel\rone\tx\rtwo\ty\r"),
        ("a.csv", "text,label\rone,x\rtwo,y\r"),
        ("a.jsonl", '{"text": "one", "label": "x"}\r{"text": "two", "label": "y"}\r'),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        rows = read_file(tmp_path / name, {})
        assert (rows.texts, rows.labels, rows.lines[-1] - rows.lines[0]) == (("one", "two"), ("x", "y"), 1)
