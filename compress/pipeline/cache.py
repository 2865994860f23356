"""Results on disk, found by key: made once, whole, and shared by every run that asks for the same."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from compress.errors import CompressError

logger = logging.getLogger(__name__)

FACTS = "facts.json"
WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Cache:
    """Folders `<root>/<kind>/<key>/`; one that carries facts.json is whole.

    Args:
        root: Where new results go.
        read_only: A cache that may only be read; it is asked first.
    """

    root: Path
    read_only: Path | None = None

    def find(self, kind: str, key: str) -> Path | None:
        """The whole result of that key, or None."""
        for root in (self.read_only, self.root):
            if root is not None and (root / kind / key / FACTS).is_file():
                return root / kind / key
        return None

    def facts(self, folder: Path) -> dict[str, Any]:
        """What was noted about a result."""
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return facts

    @contextlib.contextmanager
    def alone(self, kind: str, key: str) -> Iterator[None]:
        """Let one process at a time make the result of that key; the lock goes with the process that holds it."""
        lock = self.root / kind / f"{key}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        guard = FileLock(lock)
        try:
            guard.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            logger.warning("another run is making %s %s; waiting for it.", kind, key)
            guard.acquire()
        try:
            yield
        finally:
            guard.release()

    def partial(self, kind: str, key: str) -> Path:
        """The folder in which the result of that key grows; what an earlier, killed run left in it is still there."""
        folder = self.root / kind / f"{key}.partial"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, kind: str, key: str, facts: dict[str, Any]) -> Path:
        """Note the facts and let the partial folder take its name."""
        partial, final = self.root / kind / f"{key}.partial", self.root / kind / key
        (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        return final


def open_cache(folder: Path, out: Path) -> Cache:
    """The cache in `folder`; where that may not be written to, new results go to `<out>/cache`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as err:
        if err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logger.warning("the cache %s is read-only; new results go to %s.", folder, out / "cache")
        return Cache(out / "cache", read_only=folder)
    return Cache(folder)


@contextlib.contextmanager
def disk_errors_told(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write into one clear message."""
    try:
        yield
    except (OSError, SafetensorError) as err:
        number = getattr(err, "errno", None)
        if number == errno.ENOSPC or "No space left" in str(err):
            free = shutil.disk_usage(_existing(folder)).free
            raise CompressError(
                f"the disk of {folder} is full ({free / 1e6:.0f} MB free). Finished steps are kept; free some space and run "
                "the same command again."
            ) from err
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            where = getattr(err, "filename", None) or folder
            raise CompressError(f"{where} may not be written to; choose another --out or --cache.") from err
        raise


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
