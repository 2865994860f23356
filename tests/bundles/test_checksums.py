"""SHA256SUMS lists what a folder holds, and tells of what is not so any more."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from compress.bundles.checksums import SUMS, differences, read_sums, write_sums
from compress.errors import InputError
from compress.marks import MARK


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / MARK).write_bytes(b"ours")
    write_sums(tmp_path)
    return tmp_path


def test_each_file_stands_there_as_sha256sum_writes_it_and_our_mark_does_not(folder: Path) -> None:
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    expected = {"config.json": b"{}", "onnx/model.onnx": b"graph"}
    assert sorted(lines) == sorted(f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in expected.items())
    assert differences(folder) == []


def test_a_changed_a_missing_and_a_further_file_are_each_told(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"{ }")
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "notes.txt").write_bytes(b"mine")
    assert differences(folder) == ["onnx/model.onnx is missing", "config.json was changed", "notes.txt is not listed"]


@pytest.mark.parametrize(
    "text", ["nothing", "0" * 63 + "  config.json", "0" * 64 + " config.json", "g" * 64 + "  config.json"]
)
def test_a_damaged_list_is_refused_with_its_line(folder: Path, text: str) -> None:
    (folder / SUMS).write_text(f"{'0' * 64}  config.json\n{text}\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"{SUMS}:2 is no line"):
        read_sums(folder)
