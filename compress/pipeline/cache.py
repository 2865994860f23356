"""Results on disk, found by key: made once, whole, checked when they are used, and shared by every run that asks for them."""

from __future__ import annotations

import contextlib
import copy
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout
from safetensors import SafetensorError

from compress.disk import (
    Damaged,
    discard,
    hashes_of,
    is_inside,
    lock_of,
    put,
    read_sealed,
    remove,
    set_aside,
    sha256_of,
    sync,
    sync_tree,
    write_sealed,
)
from compress.errors import CompressError, InputError
from compress.marks import MARK, contents_of, kind_of, write_mark
from compress.pipeline.remote import FACTS, KIND, RemoteStore

logger = logging.getLogger(__name__)

WAIT_SECONDS = 2.0
ROOMS = ("steps", "exports", "measurements", "answers", "landscapes")
READ_BY_LOADERS = (".json", ".safetensors", ".txt", ".model", ".onnx", ".data", ".bin", ".jinja")
_OF_KEY = re.compile(r"[0-9a-f]{24}(\.lock|\.partial.*|\.kept.*|\.fetch.*)?|times")


@dataclass(frozen=True)
class Entry:
    """A result that was checked: what was noted about it, and the hash of each of its files."""

    facts: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True)
class Cache:
    """Folders `<root>/<kind>/<key>/`; one whose facts.json tells its files' contents as they are is whole.

    Args:
        root: Where new results go; it is made, and marked, when the first one does.
        read_only: A cache that may only be read; it is asked first.
        remote: A store that others share. It is asked last, and gets what is made here.
        entries: What was found whole in this run, so that it is checked once.
        damaged: What was told of already.
    """

    root: Path
    read_only: Path | None = None
    remote: RemoteStore | None = field(default=None, compare=False)
    entries: dict[Path, Entry] = field(default_factory=dict, compare=False, repr=False)
    damaged: set[Path] = field(default_factory=set, compare=False, repr=False)

    def find(self, kind: str, key: str) -> Path | None:
        """The whole result of that key, or None; what is damaged counts as not there, and is told of."""
        for root in (self.read_only, self.root):
            if root is None or not os.path.lexists(folder := root / kind / key):
                continue
            if folder in self.entries and (folder / FACTS).is_file():
                return folder
            try:
                self.entries[folder] = read_entry(folder)
                self._offer(folder)
                return folder
            except Damaged as err:
                if folder not in self.damaged:
                    logger.warning("the cached result %s is damaged: %s. It is made anew.", folder, err)
                self.damaged.add(folder)
        return None if self.remote is None else self._fetch(self.remote, kind, key)

    def _fetch(self, remote: RemoteStore, kind: str, key: str) -> Path | None:
        """The result of that key from the shared store, checked before it takes its name here."""
        facts = remote.facts(kind, key)
        if facts is None:
            return None
        final = self._room(kind) / key
        fetched = final.with_name(f"{key}.fetched")
        with lock_of(final.with_name(f"{key}.fetch.lock")):
            with contextlib.suppress(Damaged):  # another process may have brought it meanwhile
                self.entries[final] = read_entry(final)
                return final
            remove(fetched)
            try:
                if not remote.fetch(kind, key, facts, fetched):
                    return None
                entry = read_entry(fetched)
            except Damaged as err:
                remote.tell_damaged(kind, key, err)
                remove(fetched)
                return None
            sync_tree(fetched)
            _take_place(fetched, final, entry.files)
            self.entries[final] = entry
        logger.info("%s %s came from %s", kind, key, remote.place.address)
        return final

    def _offer(self, folder: Path) -> None:
        if self.remote is not None:
            self.remote.offer(folder.parent.name, folder.name, folder, self.entries[folder].files)

    def facts(self, folder: Path) -> dict[str, Any]:
        """What was noted about a result."""
        return copy.deepcopy(self._entry(folder).facts)

    def files(self, folder: Path) -> dict[str, str]:
        """The hash of each file of a result."""
        return dict(self._entry(folder).files)

    def _entry(self, folder: Path) -> Entry:
        if folder not in self.entries:
            self.entries[folder] = read_entry(folder)
        return self.entries[folder]

    @contextlib.contextmanager
    def alone(self, kind: str, key: str) -> Iterator[None]:
        """Let one process at a time make the result of that key; the lock goes with the process that holds it."""
        guard = lock_of(self._room(kind) / f"{key}.lock")
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
        folder = self._room(kind) / f"{key}.partial"
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            logger.warning("%s is no folder of ours; it is now called %s.", folder, set_aside(folder))
        folder.mkdir(exist_ok=True)
        return folder

    def unmade(self, kind: str, key: str) -> Path:
        """The same folder, which is not there yet: what killed runs left of it is removed."""
        for left in self._room(kind).glob(f"{key}.partial*"):
            remove(left)
        return self.root / kind / f"{key}.partial"

    def finish(self, kind: str, key: str, facts: dict[str, Any]) -> Path:
        """Note the facts and the files' contents, and let the partial folder take its name once all is on the disk."""
        final = self._room(kind) / key
        partial = final.with_name(f"{key}.partial")
        discard(partial / FACTS)
        files = hashes_of(partial)
        sync_tree(partial)
        sealed = write_sealed(partial / FACTS, {"facts": facts, "files": files})
        _take_place(partial, final, files)
        self.entries[final] = Entry(sealed["facts"], files)
        self._offer(final)
        return final

    def _room(self, kind: str) -> Path:
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        if not (self.root / MARK).is_file():
            write_mark(self.root, KIND)
        return folder

    def gone(self, err: BaseException) -> Path | None:
        """What of the cache is there no longer, if that is why something failed."""
        for folder in self.entries:
            if not folder.is_dir():
                return folder if folder.parents[1].is_dir() else folder.parents[1]
        root = Path(os.path.realpath(self.root))
        cause: BaseException | None = err
        while cause is not None:
            name = getattr(cause, "filename", None)
            if isinstance(cause, FileNotFoundError) and isinstance(name, str | Path):
                lost = Path(os.path.realpath(name))
                if root in lost.parents:
                    return lost if root.is_dir() else self.root
            if isinstance(cause, SafetensorError) and "No such file" in str(cause):
                return self.root  # it does not tell which file
            cause = cause.__cause__ or cause.__context__
        return None


def read_entry(folder: Path) -> Entry:
    """Read what a result's facts tell, and check each of its files against them.

    Raises:
        Damaged: A file is missing, or does not hold what was written; or one is there that was not, and would be read.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise Damaged(f"{folder.name} is no folder")
    sealed = read_sealed(folder / FACTS)
    facts, files = sealed.get("facts"), sealed.get("files")
    if not isinstance(facts, dict) or not isinstance(files, dict):
        raise Damaged(f"{FACTS} does not tell its files")
    for name, expected in files.items():
        if not is_inside(name):
            raise Damaged(f"{FACTS} names {name[:80]!r}, which lies elsewhere")
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise Damaged(f"{name} is missing")
        try:
            if sha256_of(path) != expected:
                raise Damaged(f"{name} has other contents than were written")
        except OSError as err:
            raise Damaged(f"{name} cannot be read ({err})") from err
    more = _unknown(folder, files)
    if more:
        raise Damaged(f"{', '.join(str(file) for file in more[:3])} was added, and would be read with it")
    return Entry(facts, files)


def _unknown(folder: Path, files: dict[str, str]) -> list[Path]:
    """Files that somebody added and that a loader may read; notes and the like do no harm."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix in READ_BY_LOADERS]
    return [path for path in paths if path.as_posix() not in {*files, FACTS} and not (folder / path).is_dir()]


def _take_place(partial: Path, final: Path, files: dict[str, str]) -> None:
    """Let a folder that is whole take a result's name; where something stands there, its files replace those."""
    try:
        if os.path.lexists(final):
            _replace(partial, final, files)
        else:
            partial.rename(final)
    except OSError as err:  # another process, which brought it from the shared store, was there first
        if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _replace(partial, final, files)
    sync(final.parent)


def _replace(partial: Path, final: Path, files: dict[str, str]) -> None:
    """Put the files of a result in the place of damaged ones, its facts last; what else lies there stays."""
    if final.is_symlink() or not final.is_dir():
        logger.warning("%s is no folder of ours; it is now called %s.", final, set_aside(final))
        partial.rename(final)
        return
    if (final / FACTS).is_dir() and not (final / FACTS).is_symlink():
        set_aside(final / FACTS)
    remove(final / FACTS)
    for added in _unknown(final, files):
        logger.warning("%s is not ours; it is now called %s.", final / added, set_aside(final / added))
    for name in [*files, FACTS]:
        put(partial / name, final, name)
    sync_tree(final)
    remove(partial)


def cache_folder(folder: Path | None, out: Path) -> Path:
    """Where the cache of a run is: as told, else `.cache` beside the run folder, or in there where that is someone else's."""
    if folder is not None:
        return folder
    beside = out.parent / ".cache"
    return beside if _why_foreign(beside) is None else beside / "bert-compress"


def open_cache(folder: Path, out: Path, remote: RemoteStore | None = None) -> Cache:
    """The cache in `folder`; where that may not be written to, new results go to `<out>/cache`.

    Args:
        folder: Where it is.
        out: The run folder.
        remote: A store that others share; what the folder lacks is brought from there.

    Raises:
        InputError: The folder is somebody else's.
    """
    why = _why_foreign(folder)
    if why is not None:
        raise InputError(
            f"--cache {folder} {why}; a cache is a folder of its own: name a new or an empty folder, or one that an earlier "
            "run made."
        )
    if not folder.is_dir():
        return Cache(folder, remote=remote)
    try:
        probe = folder / f".probe.{secrets.token_hex(8)}"
        probe.touch(exist_ok=False)
        remove(probe)
    except OSError as err:
        if err.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logger.warning("the cache %s is read-only; new results go to %s.", folder, out / "cache")
        return Cache(out / "cache", read_only=folder, remote=remote)
    return Cache(folder, remote=remote)


def _why_foreign(folder: Path) -> str | None:
    """What tells that a folder is no cache of ours; None for one of ours, or where there is none yet."""
    if folder.is_symlink() and not folder.exists():
        return "is a link that leads nowhere"
    above = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    if not above.is_dir():
        return "is a file" if above == folder else f"lies below {above}, which is a file"
    if above != folder or not any(folder.iterdir()):
        return None
    kind = kind_of(folder)
    if kind not in (None, KIND):
        return f"is the folder of a {kind}"
    if kind is None and not _is_unmarked_cache(folder):
        return f"is no cache of ours, since it holds {contents_of(folder)}"
    linked = [name for name in ROOMS if (folder / name).is_symlink()]
    return f"holds a link, {linked[0]}, and links are not followed" if linked else None


def _is_unmarked_cache(folder: Path) -> bool:
    """Whether a folder holds what caches held before they were marked, and nothing else."""
    kinds = [entry for entry in folder.iterdir() if not entry.name.startswith(".probe.")]
    return all(
        kind.name in ROOMS and kind.is_dir() and all(_OF_KEY.fullmatch(entry.name) for entry in kind.iterdir())
        for kind in kinds
    )


@contextlib.contextmanager
def cache_loss_told(cache: Cache) -> Iterator[None]:
    """Say that the cache went away where that is why something failed."""
    try:
        yield
    except Exception as err:
        lost = cache.gone(err)
        if lost is None:
            raise
        raise CompressError(
            f"{lost} went away while the run worked: the cache was removed, moved or unmounted meanwhile. Run the same "
            "command again, and leave the cache alone until it ends; what is left of it is used, and the rest is made anew."
        ) from err


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
