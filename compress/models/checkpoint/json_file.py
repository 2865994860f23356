"""Read a JSON file that a stranger wrote: every way in which it can be wrong is told with the file and the place."""

from __future__ import annotations

import codecs
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.errors import InputError, cut, first_line, shown

LARGEST_BYTES = 1 << 23  # names of a hundred thousand labels have room
LONGEST_NUMBER = 300  # digits; a float64 has 309 before its point
MARKS = {codecs.BOM_UTF8: "UTF-8 with a byte order mark", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def why_absent(path: Path) -> str | None:
    """Why there is no file to read at a path, in the words that follow it; None where there is one.

    Raises:
        InputError: The folder may not be read.
    """
    try:
        if path.is_file():
            return None
        if path.is_dir():
            return "is a folder, not a file"
        if path.is_symlink():
            return f"is a link to {os.readlink(path)}, which is not there"
        return "is no file" if path.exists() else "is missing"
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror}; give yourself the right to read the folder.") from err


def read_object(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """Read the object that a JSON file holds.

    Args:
        path: The file.
        finite: Whether NaN, Infinity and numbers that are too large for a float are refused; else they are read as such.

    Raises:
        InputError: The file cannot be read, is of another encoding, is no JSON, gives a key twice, or holds something else
            than an object.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes, at most {LARGEST_BYTES} are read; restore the original file."
            )
        content = path.read_bytes()
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror}.") from err
    mark = next((mark for mark in MARKS if content.startswith(mark) and len(content) > len(mark)), None)
    if mark is not None:
        raise InputError(f"{path} is no JSON: it is {MARKS[mark]}; save it as plain UTF-8, which transformers reads too.")
    try:
        values = json.loads(content.decode("utf-8"), object_pairs_hook=_distinct, parse_int=_whole)
    except (UnicodeDecodeError, ValueError, RecursionError) as err:
        raise InputError(f"{path} is no JSON: {first_line(err)}. Restore the original file.") from err
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, not an object; restore the original file.")
    for place, number in _numbers(values) if finite else ():
        if not math.isfinite(number):
            raise InputError(f"{path}: {place} is {number}, no finite number; restore the original file.")
    return values


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(twice)} stands there twice")
    return values


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else math.inf if digits[0] != "-" else -math.inf


def _numbers(values: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """The floats in a JSON value, each with the keys that lead to it."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        within = f"{place}.{key}" if place else str(key)
        if isinstance(value, float):
            yield cut(repr(within)[1:-1]), value
        yield from _numbers(value, within)
