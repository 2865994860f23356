"""Cut a data set by the content of its rows, so that neither their order nor a new row moves another one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SALT = "bert-compress"


def row_order(texts: Sequence[str], pairs: Sequence[str] | None, purpose: str) -> np.ndarray:
    """A number between 0 and 1 for each row, from its text and the purpose alone; rows of like text get the same, (rows,)."""
    seconds = pairs or [""] * len(texts)
    rows = zip(texts, seconds, strict=True)
    hashes = [_hash(f"{SALT} {purpose}\x1f{text.strip()}\x1f{pair.strip()}") for text, pair in rows]
    return np.array(hashes, dtype=np.float64) / 2.0**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


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
