"""What run.json keeps of each evaluation example, so that two runs can be compared example by example.

It is what the deciding score is made of (`TaskKind.statistics`), column by column, little-endian, packed by zlib and written
in base64: about 200 characters for the accuracy on 1,000 examples.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.errors import InputError, shown

DTYPES = ("|u1", "<i4", "<f4", "<f8")
"""Of which the first is taken that holds every number as it is."""
MOST_NUMBERS = 1 << 28
EXAMPLES = "examples"
"""The key of a subject in run.json."""


def packed(statistics: np.ndarray, metric: str) -> dict[str, Any]:
    """Pack statistics into what JSON can hold.

    Args:
        statistics: (examples, statistics), finite.
        metric: The score that they are of.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        dtype = next((kind for kind in DTYPES if np.array_equal(statistics.astype(kind), statistics)), DTYPES[-1])
    written = np.ascontiguousarray(statistics.T.astype(dtype)).tobytes()
    return {
        "metric": metric,
        "count": statistics.shape[0],
        "columns": statistics.shape[1],
        "dtype": dtype,
        "zlib_base64": base64.b64encode(zlib.compress(written, 9)).decode("ascii"),
    }


def unpacked(subject: Mapping[str, Any], metric: str) -> np.ndarray | None:
    """Read what `packed` wrote, (examples, statistics); None where a subject has none of this metric.

    Args:
        subject: One of run.json's `subjects`.
        metric: The score that statistics are wanted of.

    Raises:
        InputError: It is damaged.
    """
    entry = subject.get(EXAMPLES)
    if entry is None or (isinstance(entry, Mapping) and entry.get("metric") != metric):
        return None
    try:
        count, columns, dtype = (entry[key] for key in ("count", "columns", "dtype"))
        if dtype not in DTYPES or not _are_sizes(count, columns):
            raise ValueError(f"dtype {shown(dtype)}, {shown(count)} examples of {shown(columns)} numbers")
        size = count * columns * np.dtype(dtype).itemsize
        unpacker = zlib.decompressobj()
        written = unpacker.decompress(base64.b64decode(entry["zlib_base64"], validate=True), size + 1)
        numbers = np.frombuffer(written, dtype=dtype).reshape(columns, count).T.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as err:
        raise InputError(
            f"{EXAMPLES} of {shown(subject.get('name'))} cannot be read ({err}); restore the file, or run the recipe again."
        ) from err
    return numbers


def _are_sizes(count: Any, columns: Any) -> bool:
    return type(count) is int and type(columns) is int and count > 0 and columns > 0 and count * columns <= MOST_NUMBERS
