"""The run folder: what an earlier run wrote there is replaced, and what is anyone else's stays as it is.

Its mark lists each file that a run wrote with the hash of its contents. A file whose contents are another's is kept: the card
stays where it is and the new one is written beside it, any other takes another name. The list is written before the files are,
with both hashes, so that a run that is killed in between leaves nothing that the next one would not know as its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from compress.disk import discard, folders_made, free_name, lock_of, put, remove, set_aside, sha256_of, sync, write_lasting
from compress.errors import CompressError, InputError
from compress.marks import MARK, contents_of, kind_of, read_mark, read_own, state_of, write_mark, written
from compress.pipeline.processes import is_main
from compress.pipeline.run_log import RunLog
from compress.reporting.card import CARD, card_text
from compress.reporting.report import REPORT

logger = logging.getLogger(__name__)

KIND = "run"
RUN, DETAILS = "run.json", "details.json"
EXPORT, STEPS, LOGS, LOCK = "export", "steps", "logs", ".lock"
LOG = "logs/run.log"
NEW_CARD = "README.new.md"
STAGED = ".bert-compress.new"
PLAIN = (MARK, LOCK, LOGS, LOG, EXPORT, STEPS, RUN, DETAILS, REPORT, CARD, NEW_CARD, STAGED)
SCHEMA = 1
OF_EXPORTS = (".onnx", ".json", ".txt", ".model", ".data", ".jinja")


@dataclass(frozen=True)
class Copy:
    """A file to be copied, and the hash that its contents must have."""

    source: Path
    sha256: str


@dataclass(frozen=True)
class Link:
    """A link to be made."""

    target: str


Content = str | Copy | Link


def check_out(out: Path, targets: Sequence[str] = (), *, force: bool = False) -> None:
    """Check that a run may write into a folder, and write nothing.

    Args:
        out: The run folder.
        targets: What it will be exported for.
        force: Whether a folder that is not ours may be taken over.

    Raises:
        InputError: It is a file, somebody else's folder, or in use; or a link leads out of it.
    """
    try:
        _check_out(out, targets, force)
    except OSError as err:
        raise InputError(f"--out {str(out)[:200]} cannot be used ({err.strerror or err}); name another folder.") from err


def _check_out(out: Path, targets: Sequence[str], force: bool) -> None:
    if out.is_symlink() and not out.exists():
        raise InputError(f"--out {out} is a link that leads nowhere; name a folder, or remove the link.")
    above = next(parent for parent in (out, *out.parents, Path.cwd()) if parent.exists())
    if not above.is_dir():
        raise InputError(f"--out {out} {'is' if above == out else f'lies below {above}, which is'} a file; name a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise CompressError(f"{above} may not be written to; choose another --out or --cache.")
    if above != out:
        return
    kind = kind_of(out)
    if kind not in (None, KIND):
        raise InputError(f"--out {out} is the folder of a {kind}, which a run would write over; name another folder.")
    if kind is None and not force and not _is_unmarked_run(out) and any(out.iterdir()):
        raise InputError(
            f"--out {out} is not empty and is no run folder of ours: it holds {contents_of(out)}. Name a new or an empty "
            "folder, or run with --force, which takes it over and removes nothing that is in it."
        )
    links = _links(out, targets)
    if links and not force:
        raise InputError(
            f"{out / links[0]} is a link to {os.readlink(out / links[0])}, and a run writes into its own folder only; remove "
            "the link, name another folder with --out, or run with --force, which gives the link another name."
        )
    if not (links and LOCK in links):
        _check_lock(out)


def check_apart(out: Path, cache: Path, model: str) -> None:
    """Check that a run folder, its cache and the model that it starts from do not lie in each other's way.

    Raises:
        InputError: They do.
    """
    own, other = Path(os.path.realpath(out)), Path(os.path.realpath(cache))
    if own == other or other in own.parents:
        raise InputError(f"--out {out} {'is' if own == other else 'lies in'} the cache {cache}; name another folder for one.")
    if own in other.parents and other.relative_to(own).parts[0] in (EXPORT, STEPS, LOGS, STAGED):
        raise InputError(f"--cache {cache} lies where the run writes to in --out {out}; name another folder for the cache.")
    folder = Path(os.path.abspath(Path(model).expanduser()))
    if folder.is_dir():
        here = Path(os.path.abspath(out))
        first = folder.relative_to(here).parts[:1] if here in folder.parents else ()
        if own == Path(os.path.realpath(folder)) or first in ((EXPORT,), (STEPS,)):
            raise InputError(f"the model {model} lies where the run writes to in --out {out}; name another run folder.")


def _links(out: Path, targets: Sequence[str]) -> list[str]:
    return [name for name in (*PLAIN, *(f"{EXPORT}/{target}" for target in targets)) if (out / name).is_symlink()]


def _check_lock(out: Path) -> None:
    if not os.path.lexists(out / LOCK):
        return
    lock = lock_of(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise InputError(f"another run is writing to {out}; wait for it, or name another folder with --out.") from err
    lock.release()


@contextlib.contextmanager
def claimed(
    out: Path, targets: Sequence[str], log: RunLog, *, force: bool = False, has_worked: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Hold the run folder for this run alone: made, marked, locked, and with its log open.

    Args:
        out: The run folder, which `check_out` accepted.
        targets: What it will be exported for.
        log: Opened in it.
        force: Whether links and what is not ours may be given other names.
        has_worked: Asked when the input turns out to be wrong: as long as nothing was made, nothing stays behind.

    Raises:
        InputError: Another run holds it.
    """
    if not is_main():
        yield
        return
    with folders_made(out):
        before = {name for name in (MARK, LOCK, LOGS, LOG) if os.path.lexists(out / name)}
        for name in _links(out, targets):
            logger.warning("%s was a link; it is now called %s.", out / name, set_aside(out / name))
        lock = lock_of(out / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as err:
            raise InputError(f"another run is writing to {out}; wait for it, or name another folder with --out.") from err
        try:
            if kind_of(out) is None:
                _take_over(out)
            log.open(out / LOG)
            yield
        except InputError:
            if not has_worked():
                log.close()
                for name in (LOG, LOGS, MARK, LOCK):
                    if name not in before:
                        _undo(out / name)
            raise
        finally:
            log.close()
            lock.release()


def _undo(path: Path) -> None:
    if path.is_dir():
        with contextlib.suppress(OSError):  # somebody put something into it
            path.rmdir()
    else:
        discard(path)


def _take_over(out: Path) -> None:
    """Mark a folder as a run's, with what of it a run wrote before there were marks."""
    wrote = _written_unmarked(out) if _is_unmarked_run(out) else {}
    if not wrote and any(entry.name not in (LOCK, LOGS) for entry in out.iterdir()):
        logger.warning(
            "%s is taken over; what it holds stays (%s). What has a name that the run needs gets another one, NAME.kept.",
            out,
            contents_of(out),
        )
    write_mark(out, KIND, wrote=wrote)


def _is_unmarked_run(out: Path) -> bool:
    """Whether a run left the folder before there were marks: its record tells, or a lock and a log alone are in it."""
    if read_run(out) is not None:
        return True
    names = {entry.name for entry in out.iterdir()}
    logs = out / LOGS
    return (
        names <= {LOCK, LOGS}
        and (LOCK not in names or not (out / LOCK).is_dir())
        and (
            LOGS not in names
            or (logs.is_dir() and not logs.is_symlink() and {entry.name for entry in logs.iterdir()} <= {"run.log"})
        )
    )


def read_run(out: Path) -> dict[str, Any] | None:
    """The record that a run left in a folder; None where run.json is missing, or no record of ours."""
    record = read_own(out / RUN)
    kinds = {"schema": int, "name": str, "recipe": dict, "steps": list, "subjects": list}
    if record is None or not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
        return None
    return record if record["schema"] == SCHEMA and record["schema"] is not True else None


def _written_unmarked(out: Path) -> dict[str, list[str]]:
    """What a run wrote into a folder before there were marks, as far as that is certain."""
    record = read_run(out)
    if record is None:
        return {}
    names = [RUN, *(name for name in (DETAILS, REPORT) if (out / name).is_file())]
    card = out / CARD
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):  # a record that tells no card
        if card.is_file() and card.read_bytes() == card_text(record).encode("utf-8", errors="replace"):
            names.append(CARD)
    for subject in record["subjects"]:
        folder = f"{EXPORT}/{subject.get('target') if isinstance(subject, dict) else ''}"
        if (out / folder / "export.json").is_file() and not (out / folder).is_symlink():
            names += [f"{folder}/{entry.name}" for entry in (out / folder).iterdir() if entry.suffix in OF_EXPORTS]
    if (out / STEPS).is_dir():
        names += [f"{STEPS}/{entry.name}" for entry in (out / STEPS).iterdir() if entry.is_symlink()]
    there = {name: state_of(out, name) for name in names}
    return {name: [state] for name, state in there.items() if state is not None}


def deliver(out: Path, contents: Mapping[str, Content], *, whole: bool = True) -> None:
    """Write files of a run, in this order, each whole; an earlier run's that are not among them go.

    Args:
        out: The run folder.
        contents: By path from there. The record comes last: while others are written there is none.
        whole: Whether these are all; else what an earlier run wrote stays.

    Raises:
        CompressError: A file to copy is not what it was, or the run folder went away.
    """
    mark = read_mark(out) or {}
    if not out.is_dir() or (whole and not mark):
        raise CompressError(f"{out} went away while the run worked; run the same command again: finished steps are kept.")
    before = written(mark)
    there = {name: state_of(out, name) for name in (*before, *contents)}
    files = _beside_a_foreign_card(out, dict(contents), before, there)
    new = {name: _digest(content) for name, content in files.items()}
    room = out / STAGED
    remove(room)
    room.mkdir()
    try:
        staged = {
            name: _stage(room / str(number), content)
            for number, (name, content) in enumerate(files.items())
            if there.get(name) != new[name]
        }
        announced = {name: [*before.get(name, []), new[name]] for name in new}
        write_mark(out, KIND, wrote=before | announced)
        if RUN in staged and there.get(RUN) in before.get(RUN, []):
            remove(out / RUN)
        stale = [name for name in before if name not in new] if whole else []
        for name in stale:
            _remove_own(out, name, before[name], there[name])
        for name, path in staged.items():
            if there.get(name) is not None and there[name] not in before.get(name, []) and os.path.lexists(out / name):
                logger.warning("%s is not as a run wrote it; it is kept as %s.", out / name, set_aside(out / name))
            put(path, out, name)
            sync((out / name).parent)
        kept = {} if whole else {name: hashes for name, hashes in before.items() if name not in new}
        write_mark(out, KIND, wrote=kept | {name: [digest] for name, digest in new.items()})
    finally:
        discard(room)


def step_contents(out: Path, folders: Mapping[str, Path], files_of: Callable[[Path], Mapping[str, str]]) -> dict[str, Content]:
    """Show the steps' models under steps/, as links where the system has them, else as copies.

    Args:
        out: The run folder.
        folders: Where each lies, by its name under steps/.
        files_of: Asked for the hash of each file of one, where it has to be copied.
    """
    contents: dict[str, Content] = {}
    for name, folder in folders.items():
        target = os.path.relpath(folder.resolve(), out.resolve() / STEPS)
        if _has_links(out):
            contents[f"{STEPS}/{name}"] = Link(target)
        else:
            contents |= {f"{STEPS}/{name}/{file}": Copy(folder / file, sha256) for file, sha256 in files_of(folder).items()}
    return contents


def _has_links(out: Path) -> bool:
    probe = free_name(out / "link", "probe")
    try:
        probe.symlink_to(".", target_is_directory=True)
    except OSError:
        return False
    remove(probe)
    return True


def _digest(content: Content) -> str:
    if isinstance(content, Link):
        return f"link {content.target}"
    return content.sha256 if isinstance(content, Copy) else hashlib.sha256(_encoded(content)).hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _beside_a_foreign_card(
    out: Path, contents: dict[str, Content], before: Mapping[str, list[str]], there: dict[str, str | None]
) -> dict[str, Content]:
    """The same contents, with the card under another name where somebody wrote or edited the one that is there."""
    if CARD not in contents or there[CARD] in (None, *before.get(CARD, []), _digest(contents[CARD])):
        return contents
    logger.warning("%s was not written by a run, or was edited since; it stays, and the new card is %s.", out / CARD, NEW_CARD)
    there[NEW_CARD] = state_of(out, NEW_CARD)
    return {NEW_CARD if name == CARD else name: content for name, content in contents.items()}


def _stage(path: Path, content: Content) -> Path:
    if isinstance(content, Link):
        path.symlink_to(content.target, target_is_directory=True)
    elif isinstance(content, Copy):
        shutil.copyfile(content.source, path)
        if sha256_of(path) != content.sha256:
            raise CompressError(f"{content.source} changed while the run worked; run the same command again.")
        sync(path)
    else:
        write_lasting(path, _encoded(content))
    return path


def _remove_own(out: Path, name: str, hashes: list[str], there: str | None) -> None:
    """Remove a file that an earlier run wrote, and its folder when it is empty; one that was edited stays."""
    if there is None:
        return
    if there not in hashes:
        logger.warning("%s is not as a run wrote it; it stays, though this run has none of it.", out / name)
        return
    remove(out / name)
    folder = (out / name).parent
    if folder != out and not any(folder.iterdir()):
        folder.rmdir()
