"""Files are written to outlast a power cut, and removed without following a link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from compress import disk
from compress.disk import Damaged, hashes_of, put, read_sealed, remove, set_aside, write_lasting, write_sealed


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def replaced(source: Any, target: Any) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_lasting(tmp_path / "a", b"text")
    assert done == ["file", "name", "folder"] or not os.path.isdir("/proc/self/fd")
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_replaced_and_what_is_behind_it_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    write_lasting(tmp_path / "a", b"text")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_file_beside_it_under_a_name_like_ours_stays(tmp_path: Path) -> None:
    (tmp_path / f"a.partial.{os.getpid()}").write_text("mine")
    write_lasting(tmp_path / "a", b"text")
    assert (tmp_path / f"a.partial.{os.getpid()}").read_text() == "mine"


def test_what_is_removed_is_never_what_is_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for link in (tmp_path / "link", tmp_path / "folder" / "link"):
        link.symlink_to(tmp_path / "mine")
    for name in ("link", "folder", "nothing"):
        remove(tmp_path / name)
    assert os.listdir(tmp_path) == ["mine"]
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_what_is_set_aside_takes_nobodys_name(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        (tmp_path / "a").write_text(text)
        set_aside(tmp_path / "a")
    assert [(tmp_path / name).read_text() for name in ("a.kept", "a.kept-2", "a.kept-3")] == ["one", "two", "three"]


def test_a_file_is_put_into_the_folder_itself_and_not_behind_a_link_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "mine")
    (tmp_path / "a").write_text("text")
    put(tmp_path / "a", tmp_path / "out", "sub/a")
    assert not os.listdir(tmp_path / "mine")
    assert (tmp_path / "out" / "sub" / "a").read_text() == "text"
    assert (tmp_path / "out" / "sub.kept").is_symlink()


def test_what_was_sealed_is_read_again(tmp_path: Path) -> None:
    body = {"a": (1, 2.5), "b": {"c": None, "d": float("inf")}, "\u00e9\ud800": "\u2013"}
    sealed = write_sealed(tmp_path / "a.json", body)
    assert read_sealed(tmp_path / "a.json") == sealed == {**body, "a": [1, 2.5]}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3}', '{"a": 2, "sha256": "0"}', "[" * 10**5])
def test_what_was_not_sealed_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(Damaged, match=r"a\.json"):
        read_sealed(tmp_path / "a.json")


def test_hashes_are_of_files_alone_and_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("b")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hashes_of(tmp_path) == {"b/a": known}
    assert disk.sha256_of(tmp_path / "b" / "a") == known
