"""Make a folder whole or not at all, and tell our folders from everyone else's by a mark in them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.disk import discard, folders_made, free_name, sync, sync_tree, write_lasting
from compress.errors import CompressError, InputError

MARK = ".bert-compress"
SCHEMA = 1
SHOWN_NAMES = 5


def write_mark(folder: Path, kind: str, **facts: Any) -> None:
    """Mark a folder as one of ours: what it is, and what we noted about it."""
    content = {"kind": kind, "schema": SCHEMA, **facts}
    write_lasting(folder / MARK, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What a folder's mark says; None where there is none of ours, or it cannot be read."""
    path = folder / MARK
    if path.is_symlink() or not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(told, dict) and isinstance(told.get("kind"), str) and told.get("schema") == SCHEMA
    return told if known else None


def kind_of(folder: Path) -> str | None:
    """What a folder of ours is: "run", "cache", "model" or "export"; None for any other."""
    told = read_mark(folder)
    return None if told is None else str(told["kind"])


def held(folder: Path) -> str:
    """Names of what a folder holds, the first few of them."""
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(name[:80] for name in names[:SHOWN_NAMES]) or "nothing") + more


@contextlib.contextmanager
def new_folder(folder: str | Path, kind: str | None = None) -> Iterator[Path]:
    """Give a folder to write into; it takes the name `folder` when the block ends well, and vanishes when it does not.

    Args:
        folder: Where to; it must not exist yet, or be empty. What lies beside it is left alone, whatever its name.
        kind: What its mark says that it is; None leaves it without one.

    Raises:
        InputError: `folder` holds something already, or is a link to nowhere.
        CompressError: The disk is full, or may not be written to.
    """
    told = Path(folder)
    try:
        folder = _free(told)
        with folders_made(folder.parent):
            partial = free_name(folder, "partial")
            try:
                partial.mkdir()
                yield partial
                if kind is not None:
                    write_mark(partial, kind)
                sync_tree(partial)
                _take_name(partial, folder)
            finally:
                discard(partial)
    except FileNotFoundError as err:
        raise CompressError(f"{told} could not be written, since its folder went away meanwhile ({err}); try again.") from err
    except OSError as err:
        raise CompressError(f"{told} could not be written: {err}. Free some space or name another folder.") from err


def _free(folder: Path) -> Path:
    """The folder itself where it is a link to an empty one."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere; name a new folder, or remove the link.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty; name a new folder, or remove this one.")
    return folder.resolve()


def _take_name(partial: Path, folder: Path) -> None:
    if folder.exists():
        if os.path.ismount(folder) or folder == Path.cwd():  # cannot be replaced, or someone stands in it
            for entry in sorted(partial.iterdir()):
                entry.rename(folder / entry.name)
            sync(folder)
            return
        folder.rmdir()
    partial.rename(folder)
    sync(folder.parent)
