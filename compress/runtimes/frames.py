"""What a process that asks and one that answers say to each other: a line of JSON, and the bytes of arrays after it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

TYPES = ("<i8", "<f4")
LONGEST_LINE = 1 << 26
LARGEST = 1 << 31
"""Bytes of all arrays of a frame."""

Arrays = Mapping[str, np.ndarray]
Frame = tuple[dict[str, Any], dict[str, np.ndarray]]


def packed(message: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Put what is told and arrays of int64 and float32 into one frame."""
    listed = [[name, values.dtype.str, list(values.shape)] for name, values in arrays.items()]
    line = json.dumps({**message, "arrays": listed} if listed else message)
    return b"".join([line.encode(), b"\n", *(values.tobytes() for values in arrays.values())])


def unpacked(content: bytes | bytearray) -> Frame | None:
    """Read a frame; None while there is more of it to come.

    Raises:
        ValueError: It is no frame.
    """
    end = content.find(b"\n")
    if end < 0:
        if len(content) > LONGEST_LINE:
            raise ValueError("the line does not end")
        return None
    message, listed, total = _line(bytes(content[:end]))
    if len(content) - end - 1 < total:
        return None
    return message, _arrays(listed, bytes(content[end + 1 : end + 1 + total]))


def read_frame(file: BinaryIO) -> Frame | None:
    """Read a frame from a file; None where the file ends."""
    line = file.readline()
    if not line:
        return None
    message, listed, total = _line(line)
    return message, _arrays(listed, file.read(total))


def _line(line: bytes) -> tuple[dict[str, Any], list[Any], int]:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a {type(message).__name__} is no frame")
    listed = message.pop("arrays", [])
    total = 0
    for entry in listed:
        _, kind, shape = entry
        if kind not in TYPES or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{entry} is no array")
        total += np.dtype(kind).itemsize * math.prod(shape)
    if total > LARGEST:
        raise ValueError(f"{total} bytes are too many")
    return message, listed, total


def _arrays(listed: list[Any], content: bytes) -> dict[str, np.ndarray]:
    arrays, start, owned = {}, 0, bytearray(content)  # arrays over bytes could not be written to, as torch asks for
    for name, kind, shape in listed:
        values = np.frombuffer(owned, np.dtype(kind), math.prod(shape), start).reshape(shape)
        arrays[name], start = values, start + values.nbytes
    return arrays
