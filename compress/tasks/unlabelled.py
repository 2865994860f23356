"""Texts without labels, for a teacher to answer."""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from compress.errors import InputError
from compress.tasks.cutting import row_order
from compress.tasks.sources import SUFFIXES, content_of, decoded, read_file
from compress.tasks.split import Split

logger = logging.getLogger(__name__)

NO_LABEL = -1
PLAIN = (".txt", ".txt.gz")
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
    apart_from: Split | None = None,
) -> Unlabelled:
    """Read texts that a teacher may answer, each of them once.

    Args:
        path: Ends in .txt or .txt.gz (UTF-8), .tsv, .csv, .jsonl or .parquet.
        parted_by: What ends a text of plain text: "line" (its end; empty lines are none), or "paragraph" (an empty line; the
            lines of one become one).
        text: Column of the text; None finds it. Plain text has no columns.
        pair: Column of the second text of a pair.
        quoting: As in `read_file`.
        rows: Use so many at most, chosen by their text.
        apart_from: Texts that must not be learned from, such as a task's evaluation part; they are left out, with a warning.

    Returns:
        The texts in the file's order, white space at their ends removed.

    Raises:
        InputError: The file is missing, damaged, not UTF-8, of another kind, or holds no text.
    """
    path = Path(path).expanduser()
    columns = {role: name for role, name in (("text", text), ("pair", pair)) if name}
    if rows is not None and rows < 1:
        raise InputError(f"rows is {rows}; use 1 or more, or leave it out for all.")
    if path.name.lower().endswith(PLAIN):
        if columns:
            named = ", ".join(map(repr, columns.values()))
            raise InputError(f"{path} is plain text, which has no column {named}; leave text and pair out.")
        texts: Sequence[str] = _plain(path, parted_by)
        pairs: Sequence[str] | None = None
    else:
        if path.suffix.lower() not in SUFFIXES:
            content_of(path, (*PLAIN, *SUFFIXES))  # says what is wrong with it
        read = read_file(path, columns, quoting, labelled=False)
        texts, pairs = read.texts, read.pairs
    return _chosen(str(path), texts, pairs, rows, apart_from)


def _plain(path: Path, parted_by: str) -> list[str]:
    if parted_by not in PARTED:
        raise InputError(f"parted_by is {parted_by!r}; allowed: {', '.join(PARTED)}.")
    content = content_of(path, PLAIN)
    if path.suffix.lower() == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as err:
            raise InputError(f"{path} is no gzip file, or a damaged one ({err}); write it again.") from err
    parts = re.split(PARTED[parted_by], decoded(path, content))
    joined = (" ".join(line.strip() for line in part.strip().split("\n")) for part in parts)
    texts = [text for text in joined if text]
    if not texts:
        raise InputError(f"{path} holds no text; give a file with one text per {parted_by}.")
    return texts


def _chosen(
    source: str, texts: Sequence[str], pairs: Sequence[str] | None, rows: int | None, apart_from: Split | None
) -> Unlabelled:
    seconds = pairs or [""] * len(texts)
    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(zip(texts, seconds, strict=True)):
        first.setdefault(row, index)
    removed = {"copies": len(texts) - len(first)}
    if apart_from is not None:
        measured = zip(apart_from.texts, apart_from.pairs or [""] * len(apart_from), strict=True)
        both = [first.pop(row) for row in {(one.strip(), other.strip()) for one, other in measured} if row in first]
        if both:
            removed[f"also in the {apart_from.role} data"] = len(both)
            logger.warning("%d texts of %s stand in the %s data too; they are left out.", len(both), source, apart_from.role)
    if not first:
        raise InputError(f"{source} holds no text that is not in the data to measure on; give other texts.")
    chosen = Split("train", tuple(texts), None if pairs is None else tuple(pairs), np.full(len(texts), NO_LABEL))
    chosen = chosen.pick(np.array(list(first.values())))
    if rows is not None and rows < len(chosen):
        order = row_order(chosen.texts, chosen.pairs, "fewer")
        chosen = chosen.pick(np.sort(np.argsort(order, kind="stable")[:rows]))
    return Unlabelled(chosen, source, {reason: count for reason, count in removed.items() if count})


def _fingerprint(split: Split) -> str:
    total = hashlib.sha256()
    for text, pair in zip(split.texts, split.pairs or split.texts, strict=True):
        total.update(f"{text}\x1f{pair if split.pairs else ''}\x1e".encode())
    return total.hexdigest()[:24]
