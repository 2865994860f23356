"""Cut a data set by the content of its rows, so that neither their order nor a new row moves another one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SALT = "bert-compress"


def row_order(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    """A number between 0 and 1 for each row, from its text alone; rows of like text get the same, (rows,)."""
    seconds = pairs or [""] * len(texts)
    numbers = [
        int.from_bytes(hashlib.blake2b(f"{SALT}\x1f{text.strip()}\x1f{pair.strip()}".encode(), digest_size=8).digest(), "big")
        for text, pair in zip(texts, seconds, strict=True)
    ]
    return np.array(numbers, dtype=np.float64) / 2.0**64


def cut(order: np.ndarray, *shares: float) -> list[np.ndarray]:
    """Split row indices into one part per share and the rest, by their numbers; indices stay in the file's order.

    Args:
        order: What `row_order` gave.
        shares: Fractions of the rows; together below 1.
    """
    parts, low = [], 0.0
    for share in (*shares, 1.0 - sum(shares)):
        parts.append(np.flatnonzero((order >= low) & (order < low + share)))
        low += share
    return parts
