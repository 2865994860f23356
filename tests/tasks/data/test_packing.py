from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.tasks.data import packing
from compress.tasks.data.files import ENDINGS, is_data_file, read_file, stem_of

TABLE = b"text\tlabel\na film\tx\na plot\ty\n"


def _zip(**files: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv.gz", gzip.compress(TABLE)),
        ("a.tsv.gz", gzip.compress(TABLE[:15]) + gzip.compress(TABLE[15:])),
        ("a.TSV.GZ", gzip.compress(TABLE)),
        ("a.tsv.bz2", bz2.compress(TABLE)),
        ("a.tsv.xz", lzma.compress(TABLE)),
        ("a.tsv.zip", _zip(**{"a.tsv": TABLE})),
        ("a.zip", _zip(**{"folder/": b"", "folder/b.tsv": TABLE})),
        ("a.tsv.zip", _zip(**{"data": TABLE})),
        ("a.zip", _zip(**{"a.tsv": TABLE, "__MACOSX/._a.tsv": b"x", "x/.DS_Store": b"x"})),
    ],
)
def test_packed_files_give_the_rows_of_what_is_in_them(tmp_path: Path, name: str, content: bytes) -> None:
    rows = read_file(_write(tmp_path, name, content), {})
    assert rows.texts == ("a film", "a plot")
    assert rows.labels == ("x", "y")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv.gz", gzip.compress(TABLE * 99)[:-12], "is no gzip file, or a damaged one"),
        ("a.tsv.gz", TABLE, "is no gzip file"),
        ("a.tsv.bz2", bz2.compress(TABLE)[:-5], "is no bzip2 file, or a damaged one"),
        ("a.tsv.xz", b"\xfd7zXZ\0" + b"x" * 50, "is no xz file"),
        ("a.zip", TABLE, "is no zip file"),
        ("a.zip", _zip(**{"a.tsv": TABLE, "b.tsv": TABLE}), r"holds 2 files \('a.tsv', 'b.tsv'\); pack one data file alone"),
        ("a.zip", _zip(), r"holds 0 files \(none\)"),
        ("a.zip", _zip(**{"a.docx": b"x"}), r"holds 'a\.docx', which does not end in"),
        ("a.zip", _zip(**{"a.tsv.gz": gzip.compress(TABLE)}), "unpack it first"),
        ("a.gz", gzip.compress(TABLE), r"let its name tell what it holds \(.tsv.gz\)"[1:]),
        ("a.tar.gz", b"x", "ends in '.tar.gz'; .* Unpack it"),
        ("a.tsv.zst", b"x", "Unpack it .zstd -d"),
        ("a.xls", b"x", "ends in '.xls'; .* Save it as CSV"),
        ("a.pkl", b"x", "Pickles are never loaded"),
        ("a.arrow", b"x", "Write it as Parquet"),
        ("a.txt", b"x", "Write a table of text and label"),
        ("a.tsv", gzip.compress(TABLE), r"is no text but a gzip file, by its first bytes; let its name end in \.gz"),
        ("a.csv", _zip(**{"a.csv": TABLE}), "is no text but a zip file"),
        ("a.jsonl", b"PAR1\x15\x04", "is no text but a Parquet"),
        ("a.tsv.gz", gzip.compress(b""), "is empty"),
        ("a.tsv.gz", gzip.compress(gzip.compress(TABLE)), "no text but a gzip file"),
    ],
)
def test_packed_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_file(_write(tmp_path, name, content), {})


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(_zip(**{"a.tsv": TABLE}))
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + at] |= 1
    with pytest.raises(InputError, match="is encrypted; unpack it first"):
        read_file(_write(tmp_path, "a.zip", bytes(content)), {})


@pytest.mark.parametrize("name", ["a.tsv.gz", "a.tsv.bz2", "a.tsv.xz", "a.zip"])
def test_what_unpacks_to_far_more_than_it_is_is_refused_before_the_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(packing, "LEAST_LIMIT", 1 << 20)
    content = TABLE + b"x" * (5 << 20)
    packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix)
    path = _write(tmp_path, name, packed(content) if packed else _zip(**{"a.tsv": content}))
    with pytest.raises(InputError, match=r"unpacks to more than .*, which is the limit for a packed file of its size"):
        read_file(path, {})


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST_LIMIT", 1 << 20)
    content = bytearray(_zip(**{"a.tsv": b"x" * (8 << 20)}))
    true = (8 << 20).to_bytes(4, "little")
    assert content.count(true) == 2
    with pytest.raises(InputError, match=r"is no zip file, or a damaged one|unpacks to more than"):
        read_file(_write(tmp_path, "a.zip", bytes(content.replace(true, (9).to_bytes(4, "little")))), {})


def test_the_limit_lets_ordinary_text_through() -> None:
    assert packing.byte_limit(10) == 64 << 20
    assert packing.byte_limit(10 << 20) == 300 << 20
    assert packing.byte_limit(1 << 40) == 4 << 30
    random = "".join(f"{zlib.crc32(str(index).encode()):x} " for index in range(9999)).encode()
    assert len(random) < packing.byte_limit(len(gzip.compress(random)))


def test_a_file_of_terabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1 << 42)
    with pytest.raises(InputError, match=r"has 4,398,046,511,104 bytes; at most"):
        read_file(path, {})


def test_pipes_names_that_are_too_long_and_odd_ones_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tsv")
    with pytest.raises(InputError, match="is a pipe or a device"):
        read_file(tmp_path / "a.tsv", {})
    with pytest.raises(InputError, match=r"cannot be read: File name too long"):
        read_file(tmp_path / f"{'a' * 9000}.tsv", {})
    with pytest.raises(InputError, match="does not exist"):
        read_file(tmp_path / "a\0.tsv", {})


def test_the_endings_of_data_files_are_told_from_names() -> None:
    assert {".tsv", ".json", ".ndjson", ".csv.gz", ".zip"} <= set(ENDINGS)
    assert [is_data_file(name) for name in ("a.TSV", "b.jsonl.xz", "c.zip", "sst2", "owner/name", "a.xlsx")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert [stem_of(Path(name)) for name in ("d/train.tsv", "train.tsv.gz", "train.zip", "a.b.csv")] == [
        "train",
        "train",
        "train",
        "a.b",
    ]
