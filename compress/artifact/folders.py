"""Make a folder whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from compress.errors import CompressError, InputError


@contextlib.contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Give a folder to write into; it takes the name `folder` when the block ends well, and vanishes when it does not.

    Raises:
        InputError: `folder` holds something already.
        CompressError: The disk is full, or may not be written to.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty; name a new folder, or remove this one.")
    partial = folder.with_name(f"{folder.name}.partial.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as err:
        raise CompressError(f"{folder} could not be written: {err}. Free some space or name another folder.") from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
