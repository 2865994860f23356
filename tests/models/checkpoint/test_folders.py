"""A folder is written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compress.disk import remove
from compress.errors import CompressError, InputError
from compress.marks import MARK, kind_of
from compress.models.checkpoint.folders import new_folder


def test_the_folder_takes_its_name_when_the_block_ends(tmp_path: Path) -> None:
    with new_folder(tmp_path / "one" / "two") as partial:
        (partial / "file").write_text("text")
        assert not (tmp_path / "one" / "two").exists()
    assert (tmp_path / "one" / "two" / "file").read_text() == "text"
    assert os.listdir(tmp_path / "one") == ["two"]


def write_and_fail(folder: Path, error: BaseException) -> None:
    """Write a file into the new folder, then fail."""
    with new_folder(folder) as partial:
        (partial / "file").write_text("text")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_and_fail(tmp_path / "model", error())
    assert not os.listdir(tmp_path)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=r"No space left.*Free some space") as caught:
        write_and_fail(tmp_path / "model", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert caught.value.exit_code == 1
    assert not os.listdir(tmp_path)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with new_folder(tmp_path / "model") as partial:
        (partial / "file").write_text("text")
    assert os.listdir(tmp_path / "model") == ["file"]


def test_a_folder_with_something_in_it_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("kept")
    with pytest.raises(InputError, match="exists already and is not empty"), new_folder(tmp_path / "model"):
        pytest.fail("the block must not run")
    assert (tmp_path / "model" / "mine").read_text() == "kept"
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_of_that_name_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("kept")
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "model"):
        pytest.fail("the block must not run")
    assert (tmp_path / "model").read_text() == "kept"


def test_what_lies_beside_it_under_a_name_like_ours_is_not_mixed_in_and_stays(tmp_path: Path) -> None:
    """Whether a killed process left it or a user called a folder so."""
    left = tmp_path / f"model.partial.{os.getpid()}"
    left.mkdir()
    (left / "mine").write_text("text")
    with new_folder(tmp_path / "model") as partial:
        (partial / "new").write_text("new")
    assert os.listdir(tmp_path / "model") == ["new"]
    assert (left / "mine").read_text() == "text"


def test_a_folder_carries_the_mark_of_its_kind(tmp_path: Path) -> None:
    with new_folder(tmp_path / "model", "model") as partial:
        (partial / "file").write_text("text")
    assert kind_of(tmp_path / "model") == "model"
    assert sorted(os.listdir(tmp_path / "model")) == [MARK, "file"]


def test_a_link_to_an_empty_folder_is_filled_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    with new_folder(tmp_path / "model") as partial:
        (partial / "file").write_text("text")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "text"


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match="leads nowhere"), new_folder(tmp_path / "model"):
        pytest.fail("the block must not run")
    assert os.listdir(tmp_path) == ["model"]


def test_the_folder_that_one_stands_in_may_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with new_folder(".") as partial:
        (partial / "file").write_text("text")
    assert os.listdir() == ["file"]
    assert os.listdir(tmp_path) == ["here"]


def test_folders_above_it_go_again_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        write_and_fail(tmp_path / "one" / "two" / "model", ValueError("no"))
    assert not os.listdir(tmp_path)


def test_a_folder_that_somebody_fills_meanwhile_is_kept(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "model") as partial:
            (partial / "file").write_text("text")
            (tmp_path / "model").mkdir()
            (tmp_path / "model" / "mine").write_text("kept")

    with pytest.raises(CompressError, match="could not be written"):
        write()
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == ["mine"]


def test_a_folder_that_goes_away_while_it_is_written_is_told(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "one" / "model") as partial:
            remove(tmp_path / "one")
            (partial / "file").write_text("text")

    with pytest.raises(CompressError, match="went away meanwhile"):
        write()
