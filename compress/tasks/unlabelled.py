"""Texts without labels, for a teacher to answer."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.cutting import row_order
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.files import FORMATS, check_path, open_table
from compress.tasks.data.joining import join_columns
from compress.tasks.data.packing import ZIP, first_bytes, read_bytes, unpacked_name
from compress.tasks.data.rows import collect
from compress.tasks.kin import find_kin
from compress.tasks.split import Split

logger = logging.getLogger(__name__)

NO_LABEL = -1
NOTHING_JOINED: Mapping[str, Any] = {}
PLAIN = (".txt",)
PROBED = 1 << 16
"""Bytes of a file that a check before the work reads."""
PARTED = {"line": r"\n", "paragraph": r"\n[ \t\r]*\n"}


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Texts that no label belongs to.

    Args:
        split: Of role "train"; every label is NO_LABEL.
        source: The file.
        removed: How many texts were left out, by reason.
        fingerprint: A hash of the texts in their order.
    """

    split: Split
    source: str
    removed: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _fingerprint(self.split))


def read_unlabelled(
    path: str | Path,
    *,
    parted_by: Literal["line", "paragraph"] = "line",
    text: str | None = None,
    pair: str | None = None,
    quoting: str | None = None,
    rows: int | None = None,
    apart_from: Split | Sequence[Split] = (),
    joined: Mapping[str, Any] = NOTHING_JOINED,
) -> Unlabelled:
    """Read texts that a teacher may answer, each of them once.

    Args:
        path: Ends in .txt, or in what a task's file may end in (.tsv, .csv, .jsonl, .json, .parquet, ...), and may be packed.
        parted_by: What ends a text of plain text: "line" (its end; empty lines are none), or "paragraph" (an empty line; the
            lines of one become one).
        text: Column of the text; None finds it. Plain text has no columns.
        pair: Column of the second text of a pair.
        quoting: As in `read_file`.
        rows: Use so many at most, chosen by their text.
        apart_from: Texts that must not be learned from, such as a task's evaluation part, or several parts; they are left out,
            with a warning, and so are texts that contain one of them, stand in one or nearly copy one.

        joined: Which columns a task's texts are joined of, see `Task`; those of a table that has them are joined alike.

    Returns:
        The texts in the file's order, white space at their ends removed.

    Raises:
        InputError: The file is missing, damaged, not UTF-8, of another kind, or holds no text.
    """
    path = _path(path)
    columns = {role: name for role, name in (("text", text), ("pair", pair)) if name}
    if rows is not None and rows < 1:
        raise InputError(f"rows is {rows}; use 1 or more, or leave it out for all.")
    check_path(path, (*PLAIN, *FORMATS))
    if _is_plain(path):
        if columns:
            named = ", ".join(map(repr, columns.values()))
            raise InputError(f"{path} is plain text, which has no column {named}; leave text and pair out.")
        texts: Sequence[str] = _plain(path, parted_by)
        pairs: Sequence[str] | None = None
    else:
        table = open_table(path, quoting)
        parts = {role: names for role, names in joined.items() if role != "separator"}
        if not columns and all(name in table.names for names in parts.values() for name in names):
            read = collect(*join_columns(table, parts, joined.get("separator")), labelled=False)
        else:
            read = collect(table, columns, labelled=False)
        texts, pairs = read.texts, read.pairs
    return _chosen(str(path), texts, pairs, rows, [apart_from] if isinstance(apart_from, Split) else apart_from)


def check_unlabelled(path: str | Path) -> None:
    """Look whether texts can be read, at little cost: that the file is there, and that its beginning is what its name says.

    What `read_unlabelled` finds further on in the file is not found here, so that a large file is read once in a run, by the
    step that learns from it, and not before the first step as well.

    Raises:
        InputError: The file is missing or of another kind, is empty, or its beginning is damaged or no text.
    """
    path = _path(path)
    check_path(path, (*PLAIN, *FORMATS))
    head = first_bytes(path, PROBED)
    name = unpacked_name(path.name).lower()
    if path.name.lower().endswith(ZIP):
        return
    if not head or (head.isspace() and len(head) < PROBED):
        raise InputError(f"data file {path} is empty; give a file with texts.")
    if not name.endswith(".parquet"):
        decoded(path, _whole_lines(head) if len(head) == PROBED else head)
    elif not head.startswith(b"PAR1"):
        raise InputError(f"{path} is no Parquet file, or a damaged one; write it again.")


def _whole_lines(head: bytes) -> bytes:
    """The beginning of a file without the character that was cut at its end: as far as the last line end, if there is one."""
    at = head.rfind(b"\n")
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")  # two or four bytes a character
    return head[: at // 4 * 4] if wide or at <= 0 else head[:at]


def _path(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except (RuntimeError, TypeError) as err:
        raise InputError(f"text is {shown(path)}, which is no path ({err}); give that of a file.") from err


def _is_plain(path: Path) -> bool:
    """Whether a file is text without columns; of a .zip the name itself has to tell."""
    return unpacked_name(path.name).lower().endswith(PLAIN)


def _plain(path: Path, parted_by: str) -> list[str]:
    if parted_by not in PARTED:
        raise InputError(f"parted_by is {shown(parted_by)}; allowed: {', '.join(PARTED)}.")
    text = decoded(path, read_bytes(path, PLAIN)[1])
    if "\n" not in text:
        text = "\n".join(text_lines(text))
    parts = re.split(PARTED[parted_by], text)
    joined = (" ".join(line.strip() for line in part.strip().split("\n")) for part in parts)
    texts = [part for part in joined if part]
    if not texts:
        raise InputError(f"{path} holds no text; give a file with one text per {parted_by}.")
    return texts


def _chosen(
    source: str, texts: Sequence[str], pairs: Sequence[str] | None, rows: int | None, apart_from: Sequence[Split]
) -> Unlabelled:
    seconds = pairs or [""] * len(texts)
    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(zip(texts, seconds, strict=True)):
        first.setdefault(row, index)
    removed = {"copies": len(texts) - len(first)}
    for split in apart_from:
        measured = zip(split.texts, split.pairs or [""] * len(split), strict=True)
        both = [first.pop(row) for row in {(text.strip(), pair.strip()) for text, pair in measured} if row in first]
        if split.passages is not None:  # a query is left out with whatever it is read with
            queries = {text.strip() for text in split.texts}
            both += [first.pop(row) for row in [*first] if row[0] in queries]
        if both:
            removed[f"also in the {split.role} data"] = len(both)
            logger.warning("%d texts of %s stand in the %s data too; they are left out.", len(both), source, split.role)
    kin = _kin([*first], apart_from)
    for row in kin:
        del first[row]
    if kin:
        removed["kin of rows that are kept apart"] = len(kin)
        logger.warning(
            "%d texts of %s contain a row of the %s data, stand in one or nearly copy one; they are left out.",
            len(kin),
            source,
            " or ".join(split.role for split in apart_from),
        )
    if not first:
        raise InputError(f"{source} holds no text that is not in the data to measure on; give other texts.")
    chosen = Split("train", tuple(texts), None if pairs is None else tuple(pairs), np.full(len(texts), NO_LABEL))
    chosen = chosen.pick(np.array(list(first.values())))
    if rows is not None and rows < len(chosen):
        order = row_order(chosen.texts, chosen.pairs, "fewer")
        chosen = chosen.pick(np.sort(np.argsort(order, kind="stable")[:rows]))
    return Unlabelled(chosen, source, {reason: count for reason, count in removed.items() if count})


def _kin(rows: Sequence[tuple[str, str]], apart_from: Sequence[Split]) -> list[tuple[str, str]]:
    """The rows that contain one that is kept apart, stand in one or nearly copy one."""
    measured = [row for split in apart_from for row in zip(split.texts, split.pairs or [""] * len(split), strict=True)]
    if not measured or not rows:
        return []
    texts, pairs = zip(*measured, *rows, strict=True)
    kin = find_kin([texts, pairs] if any(pairs) else [texts], indexed=len(measured))
    numbers = np.arange(len(measured), len(texts))
    return [rows[index] for index in np.flatnonzero(kin.touches(numbers, np.arange(len(measured)))).tolist()]


def _fingerprint(split: Split) -> str:
    total = hashlib.sha256()
    for text, pair in zip(split.texts, split.pairs or split.texts, strict=True):
        total.update(f"{text}\x1f{pair if split.pairs else ''}\x1e".encode())
    return total.hexdigest()[:24]
