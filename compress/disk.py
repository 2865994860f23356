"""Files on disk: written so that they outlast a power cut, checked by their contents, removed without following a link.

Nothing but this file deletes anything, so that the one question "is it ours?" is asked by its few callers.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from compress.errors import InputError

logger = logging.getLogger(__name__)

SEAL = "sha256"


class Damaged(ValueError):
    """A file of ours does not hold what was written into it; the text says what is wrong."""


def sha256_of(path: Path) -> str:
    """Return the hash of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder by its path from there, `/` between the parts; links are not followed."""
    hashes = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path.is_file() and not path.is_symlink():
                hashes[path.relative_to(folder).as_posix()] = sha256_of(path)
    return hashes


def is_inside(name: str) -> bool:
    """Whether a path leads to something below where it starts."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts and "\\" not in name


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's memory to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks sync no folders
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring everything below a folder to the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place) / name
            if path.is_file() and not path.is_symlink():
                sync(path)
        sync(Path(place))


def write_lasting(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and to the disk; a link of that name is replaced, not followed."""
    partial = free_name(path, "partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync(path.parent)
    finally:
        discard(partial)


def free_name(path: Path, word: str) -> Path:
    """Return a name beside a path that nothing has, and that no other process will choose."""
    while True:
        free = path.with_name(f"{path.name[:200]}.{word}.{secrets.token_hex(4)}")
        if not os.path.lexists(free):
            return free


def write_sealed(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write an object as JSON together with a hash of itself, and return it as `read_sealed` will."""
    body: dict[str, Any] = json.loads(json.dumps(dict(content)))
    write_lasting(path, (json.dumps(body | {SEAL: _seal(body)}, indent=1) + "\n").encode())
    return body


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Raises:
        Damaged: The file is missing, torn, or was changed; or a link stands in its place.
    """
    if path.is_symlink():
        raise Damaged(f"{path.name} is a link")
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise Damaged(f"{path.name} cannot be read ({type(err).__name__})") from err
    if not isinstance(body, dict) or SEAL not in body:
        raise Damaged(f"{path.name} carries no hash of its contents")
    if body.pop(SEAL) != _seal(body):
        raise Damaged(f"{path.name} has other contents than were written")
    return body


def _seal(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def remove(path: Path) -> None:
    """Remove a file, a link (never what is behind it) or a whole folder; nothing is done where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove what is left of failed work, as far as the disk lets us: the failure itself is what has to be told."""
    with contextlib.suppress(OSError):
        remove(path)


def set_aside(path: Path) -> Path:
    """Give what stands at a path another name beside it, NAME.kept, and return that; a link is renamed, not followed."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.kept{'' if number == 1 else f'-{number}'}")):
        number += 1
    path.rename(kept)
    return kept


def put(source: Path, folder: Path, name: str) -> None:
    """Move a file or a link to its place in a folder, over what stands there, but for a folder, which is set aside.

    No link is followed: one in the way to the place is set aside too.
    """
    target = folder
    for part in Path(name).parts[:-1]:
        target = target / part
        if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
            logger.warning("%s is in the way; it is now called %s.", target, set_aside(target))
        target.mkdir(exist_ok=True)
    target = folder / name
    if target.is_dir() and not target.is_symlink():
        logger.warning("%s is in the way; it is now called %s.", target, set_aside(target))
    os.replace(source, target)


def lock_of(path: Path) -> FileLock:
    """Return the lock that a file stands for.

    Raises:
        InputError: A folder, a link or something else that is no file stands there.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no plain file"
        raise InputError(f"{path} is {kind}, but a lock is a file of ours; move it away, or name another folder.")
    return FileLock(path)


@contextlib.contextmanager
def folders_made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; where the block fails, those that were not there go again if they are empty."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for created in made:
            with contextlib.suppress(OSError):
                created.rmdir()
        raise
