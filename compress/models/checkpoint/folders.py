"""Make a folder whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from compress.disk import discard, folders_made, free_name, remove, sync, sync_tree
from compress.errors import CompressError, InputError
from compress.marks import write_mark


@contextlib.contextmanager
def new_folder(folder: str | Path, kind: str | None = None, *, replaces: bool = False) -> Iterator[Path]:
    """Give a folder to write into; it takes the name `folder` when the block ends well, and vanishes when it does not.

    Args:
        folder: Where to; it must not exist yet, or be empty. What lies beside it is left alone, whatever its name.
        kind: What its mark says that it is; None leaves it without one.
        replaces: Let it take the place of what is there, which goes once the new folder is whole. Whether that may be lost is
            for the caller to ask.

    Raises:
        InputError: `folder` holds something already, or is a link to nowhere.
        CompressError: The disk is full, or may not be written to.
    """
    path = Path(folder)
    try:
        folder = path.resolve() if replaces else _free(path)
        with folders_made(folder.parent):
            partial = free_name(folder, "partial")
            try:
                partial.mkdir()
                yield partial
                if kind is not None:
                    write_mark(partial, kind)
                sync_tree(partial)
                _take_name(partial, folder, replaces=replaces)
            finally:
                discard(partial)
    except FileNotFoundError as err:
        raise CompressError(f"{path} could not be written, since its folder went away meanwhile ({err}); try again.") from err
    except OSError as err:
        raise CompressError(f"{path} could not be written: {err}. Free some space or name another folder.") from err


def _free(folder: Path) -> Path:
    """The folder itself where it is a link to an empty one."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere; name a new folder, or remove the link.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty; name a new folder, or remove this one.")
    return folder.resolve()


def _take_name(partial: Path, folder: Path, *, replaces: bool) -> None:
    if replaces and folder.is_dir() and any(folder.iterdir()):
        old = free_name(folder, "old")
        folder.rename(old)
        partial.rename(folder)
        remove(old)
    elif folder.exists():
        if os.path.ismount(folder) or folder == Path.cwd():  # cannot be replaced, or someone stands in it
            for entry in sorted(partial.iterdir()):
                entry.rename(folder / entry.name)
            sync(folder)
            return
        folder.rmdir()
        partial.rename(folder)
    else:
        partial.rename(folder)
    sync(folder.parent)
