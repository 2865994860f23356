"""A folder is written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compress.artifact.folders import new_folder
from compress.errors import CompressError, InputError


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


def test_what_a_killed_run_left_is_not_mixed_in(tmp_path: Path) -> None:
    left = tmp_path / f"model.partial.{os.getpid()}"
    left.mkdir()
    (left / "old").write_text("old")
    with new_folder(tmp_path / "model") as partial:
        (partial / "new").write_text("new")
    assert os.listdir(tmp_path / "model") == ["new"]
