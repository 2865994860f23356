"""Tell our folders from everyone else's by a mark in them, and in them our files by the hashes that it lists."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.disk import set_aside, sha256_of, write_lasting

logger = logging.getLogger(__name__)

MARK = ".bert-compress"
SCHEMA = 1
SHOWN_NAMES = 5


def write_mark(folder: Path, kind: str, **facts: Any) -> None:
    """Mark a folder as one of ours: what it is, and what we noted about it."""
    content = {**facts, "kind": kind, "schema": SCHEMA}
    write_lasting(folder / MARK, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What a folder's mark says; None where there is none of ours, or it cannot be read."""
    mark = read_own(folder / MARK)
    known = mark is not None and isinstance(mark.get("kind"), str) and mark.get("schema") == SCHEMA
    return mark if known else None


def read_own(path: Path) -> dict[str, Any] | None:
    """The object that a JSON file of ours holds; None where it is a link, is missing, or holds none."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def kind_of(folder: Path) -> str | None:
    """What a folder of ours is: "run", "cache", "model" or "export"; None for any other."""
    mark = read_mark(folder)
    return None if mark is None else str(mark["kind"])


def contents_of(folder: Path) -> str:
    """Names of what a folder holds, the first few of them."""
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(name[:80] for name in names[:SHOWN_NAMES]) or "nothing") + more


def written(mark: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files that a mark lists, each with the hashes that it may have, without what could lead out of the folder."""
    wrote = mark.get("wrote")
    entries = wrote.items() if isinstance(wrote, dict) else ()
    return {
        name: [str(state) for state in states]
        for name, states in entries
        if isinstance(states, list) and name and not Path(name).is_absolute() and ".." not in Path(name).parts
    }


def state_of(folder: Path, name: str) -> str | None:
    """What stands at a path, in the words of the mark; None for nothing, or where a link leads there."""
    path = folder / name
    if not os.path.lexists(path) or any((folder / parent).is_symlink() for parent in Path(name).parents if parent != Path()):
        return None
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    return sha256_of(path) if path.is_file() else "no file"


def make_way(folder: Path, name: str, sign: str) -> None:
    """Give a file another name unless we wrote it: the folder's mark tells, else a sign near the file's beginning."""
    state = state_of(folder, name)
    if state is None:
        return
    listed = written(read_mark(folder) or {}).get(name)
    if listed is None:
        path = folder / name
        is_own = state != "no file" and not path.is_symlink() and sign.encode() in path.read_bytes()[:4096]
    else:
        is_own = state in listed
    if not is_own:
        logger.warning("%s is not as we wrote it; it is kept as %s.", folder / name, set_aside(folder / name))


def note_written(folder: Path, name: str) -> None:
    """List a file in its folder's mark, where it has one."""
    mark = read_mark(folder)
    state = state_of(folder, name)
    if mark is not None and state is not None:
        write_mark(folder, **mark | {"wrote": written(mark) | {name: [state]}})
