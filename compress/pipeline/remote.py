"""A second store behind the cache, and a place for a copy of a run folder: any address that fsspec opens, s3:// and others.

A file of a result lies at `<address>/<kind>/<key>/<its sha256>`, and `facts.json` beside it comes last: until then there is no
result, and two that write the same one never write over each other's files.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from compress.disk import Damaged, is_inside, read_sealed, remove
from compress.errors import CompressError, InputError, first_line, shown
from compress.marks import MARK, SCHEMA, read_mark, written

logger = logging.getLogger(__name__)

KIND, COPY = "cache", "run"
BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
PROBE = ".probe."
FACTS = "facts.json"
ANSWER_SECONDS = 30.0
"""That a store has for its first answer; libraries try for minutes."""
EXTRA = "bert-compress[remote]"
_NO_RIGHTS = ("accessdenied", "access denied", "forbidden", "403", "signaturedoesnotmatch", "invalidaccesskeyid", "credential")

Answer = TypeVar("Answer")


class Place:
    """A folder at an address.

    Args:
        option: The option that named it, for messages.
        address: As fsspec takes it: PROTOCOL://REST.

    Raises:
        InputError: No such protocol is known, or its package is missing.
    """

    def __init__(self, option: str, address: str) -> None:
        import fsspec

        self.option, self.address = option, address.rstrip("/")
        protocol, _, rest = address.partition("://")
        if not rest.strip("/"):
            raise InputError(f"{option} is {shown(address)}, which names no folder; name one, as in s3://bucket/folder.")
        try:
            self.files, self.root = fsspec.url_to_fs(self.address, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as err:
            raise InputError(
                f"{option} is {shown(address)}, and {protocol}:// needs a package that is missing ({first_line(err)}); run: "
                f"pip install '{EXTRA}' for s3://, or install the one that fsspec names."
            ) from err
        except ValueError as err:
            raise InputError(
                f"{option} is {shown(address)}, which fsspec cannot open ({first_line(err)}); use an address such as "
                "s3://bucket/folder or file:///folder, or a path."
            ) from err

    def at(self, name: str) -> str:
        """The path of a file by its name from the folder."""
        return f"{self.root.rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """What lies in the folder; nothing where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in self.files.ls(self.root, detail=False))
        return []

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return bytes(self.files.cat_file(self.at(name)))
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        self._put(name, lambda path: self.files.pipe_file(path, data))

    def upload(self, source: Path, name: str) -> None:
        """Write a file of the disk."""
        self._put(name, lambda path: self.files.put_file(str(source), path))

    def _put(self, name: str, put: Callable[[str], object]) -> None:
        path = self.at(name)
        try:
            put(path)
        except FileNotFoundError:  # where there are folders, they are made first; a bucket is for its owner to make
            if BUCKETS & {self.files.protocol, *self.files.protocol}:
                raise
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            put(path)

    def mark(self, kind: str) -> None:
        """Mark the folder as ours, before anything else goes there."""
        self.write(MARK, (json.dumps({"kind": kind, "schema": SCHEMA}, sort_keys=True) + "\n").encode())

    def check(self, kind: str, *, force: bool = False) -> None:
        """Check that the folder answers and may be written to, and leave it as it is.

        Raises:
            InputError: It does not, may not, or is somebody else's.
        """
        try:
            _in_time(lambda: self._check(kind, force))
        except InputError:
            raise
        except Exception as err:  # each library has errors of its own
            raise InputError(self._why(err)) from err

    def _check(self, kind: str, force: bool) -> None:
        names = [name for name in self.names() if name != MARK and not name.startswith(PROBE)]
        mark = self.read(MARK)
        said = f"{self.option} {shown(self.address)}"
        if mark is None and names and not force:
            raise InputError(f"{said} is not empty and is no {kind} of ours: it holds {shown(names)}; name a new folder.")
        if mark is not None and (other := _kind_of(mark)) != kind and not force:
            raise InputError(f"{said} is {f'a {other}' if other else 'not ours'}, and no {kind}; name another folder.")
        probe = f"{PROBE}{secrets.token_hex(8)}"
        self.write(probe, b"")
        self.files.rm_file(self.at(probe))

    def _why(self, err: Exception) -> str:
        said = f"{self.option} {shown(self.address)}"
        if isinstance(err, PermissionError) or any(sign in str(err).lower() for sign in _NO_RIGHTS):
            return f"{said} may not be read and written ({first_line(err)}); give the rights or other credentials, or a path."
        if isinstance(err, FileNotFoundError):
            return f"{said} is not there ({first_line(err)}); make the bucket, or name another."
        return f"{said} does not answer ({first_line(err)}); check the address, the network and the endpoint, or give a path."


def _kind_of(mark: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        content = json.loads(mark)
        return content.get("kind") if isinstance(content, dict) else None
    return None


def _in_time(ask: Callable[[], Answer]) -> Answer:
    """The answer to a question, unless it takes too long; the thread that waits for it goes with the process."""
    answers: list[Answer] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as err:  # raised below, where somebody waits for it
            errors.append(err)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer in {ANSWER_SECONDS:.0f} seconds")
    return answers[0]


class RemoteStore:
    """Results at an address, for all who share it. What goes wrong there costs the work no more than what it would have saved.

    Args:
        place: Where; it was checked.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_lost = False
        self.is_marked = False
        self.offered: set[str] = set()
        self.damaged: set[str] = set()

    def facts(self, kind: str, key: str) -> bytes | None:
        """The facts of a result as they are there; None where there is none."""
        with self._losses_told():
            return None if self.is_lost else self.place.read(f"{kind}/{key}/{FACTS}")
        return None

    def fetch(self, kind: str, key: str, facts: bytes, folder: Path) -> bool:
        """Bring a result into a folder, which is made; whether all came. Its contents are still to be checked.

        Raises:
            Damaged: A file is missing, or the facts are no good.
        """
        room = f"{kind}/{key}"
        with self._losses_told():
            folder.mkdir()
            (folder / FACTS).write_bytes(facts)
            for name, sha256 in _files_of(folder).items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.place.files.get_file(self.place.at(f"{room}/{sha256}"), str(target))
                except FileNotFoundError as err:
                    raise Damaged(f"{name} is missing") from err
            self.offered.add(room)
            return True
        remove(folder)
        return False

    def tell_damaged(self, kind: str, key: str, err: Damaged) -> None:
        """Say that a result there is no good; the next one of its key is written over it."""
        room = f"{kind}/{key}"
        if room not in self.damaged:
            logger.warning("the result %s/%s is damaged: %s. It is made anew.", self.place.address, room, err)
        self.damaged.add(room)
        self.offered.discard(room)

    def offer(self, kind: str, key: str, folder: Path, files: Mapping[str, str]) -> None:
        """Bring a whole result there, unless it is there already."""
        room = f"{kind}/{key}"
        if self.is_lost or room in self.offered:
            return
        with self._losses_told():
            anew = room in self.damaged
            if anew or not self.place.files.exists(self.place.at(f"{room}/{FACTS}")):
                if not self.is_marked:
                    self.place.mark(KIND)
                    self.is_marked = True
                for name, sha256 in files.items():
                    if anew or not self._has(f"{room}/{sha256}", (folder / name).stat().st_size):
                        self.place.upload(folder / name, f"{room}/{sha256}")
                self.place.write(f"{room}/{FACTS}", (folder / FACTS).read_bytes())
            self.offered.add(room)
            self.damaged.discard(room)

    def _has(self, name: str, size_bytes: int) -> bool:
        """Whether a file is there in full; one that is still being written has another size."""
        try:
            return bool(self.place.files.size(self.place.at(name)) == size_bytes)
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _losses_told(self) -> Iterator[None]:
        try:
            yield
        except Damaged:
            raise
        except Exception as err:  # each library has errors of its own
            self.is_lost = True
            logger.warning(
                "%s does not answer any more (%s); the work goes on with the local cache alone, and what it makes is brought "
                "there by the next run that uses it.",
                self.place.address,
                first_line(err),
            )


def _files_of(folder: Path) -> dict[str, str]:
    """The files that a result's facts name, each of which must lie in its folder."""
    files = read_sealed(folder / FACTS).get("files")
    if not isinstance(files, dict) or not all(is_inside(name) for name in files):
        raise Damaged(f"{FACTS} does not tell its files")
    return files


@functools.cache
def open_store(address: str) -> RemoteStore:
    """The store at an address, opened once in a process.

    Raises:
        InputError: It cannot be used.
    """
    place = Place("--cache", address)
    place.check(KIND)
    return RemoteStore(place)


def open_copy(address: str, *, force: bool = False) -> Place:
    """The place for a copy of a run folder.

    Raises:
        InputError: It cannot be used, or is somebody else's.
    """
    place = Place("--out", address)
    place.check(COPY, force=force)
    return place


def copy_run(out: Path, place: Place, last: str) -> None:
    """Copy what a run wrote into its folder to a place, the record last; links into the cache are left out.

    Args:
        out: The run folder.
        place: Checked for it.
        last: The file that comes last, and that is removed first: a copy without it is not whole.

    Raises:
        CompressError: The place does not take it.
    """
    hashes = written(read_mark(out) or {})
    names = [name for name in hashes if (out / name).is_file() and not _is_linked(out, name)]
    try:
        place.mark(COPY)
        if place.files.exists(place.at(last)):
            place.files.rm_file(place.at(last))
        for name in sorted(names, key=lambda name: name == last):
            place.upload(out / name, name)
            if place.files.size(place.at(name)) != (out / name).stat().st_size:
                raise OSError(errno.EIO, f"{name} arrived with another size")
    except Exception as err:  # each library has errors of its own
        raise CompressError(
            f"the run is whole in {out}, but its copy at {place.address} is not ({first_line(err)}); run the same command "
            "again: all steps are kept, and the copy is made anew."
        ) from err
    logger.info("the run folder was copied to %s (%d files)", place.address, len(names))


def _is_linked(out: Path, name: str) -> bool:
    return any((out / part).is_symlink() for part in (Path(name), *Path(name).parents) if part != Path())
