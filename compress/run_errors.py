"""Say in our own words why a runtime could not load a file or run a batch. Imports no runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from compress.errors import CompressError, InputError, first_line, last_line

CONFIG = "config.json"
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "out of memory", "can't allocate memory", "Failed to allocate memory")
OUTSIDE = ("out of data bounds", "must be within the inclusive range")
SMALLER = "use smaller batches or shorter lengths"


def refuse_run(err: Exception, path: Path, batch: Mapping[str, Any], *, most: int | None = None) -> NoReturn:
    """Raise what a runtime's error over a batch means.

    Args:
        err: The runtime's.
        path: The ONNX file; its folder's config.json tells how many positions the model has.
        batch: With input_ids, (batch, length).
        most: Tokens that the file reads at once, where that is something else than its positions.

    Raises:
        InputError: The file cannot run the batch.
        CompressError: Memory ran out.
    """
    examples, length = batch["input_ids"].shape
    what = f"{examples} examples of {length} tokens"
    refuse_out_of_memory(err, f"{path} ran {what}")
    most = most or _positions(path.with_name(CONFIG))
    if most is not None and length > most:
        raise InputError(
            f"{path} was given {examples} texts of {length} tokens, but it reads {most} at most; cut the texts to {most} "
            f"tokens (truncation=True, max_length={most})."
        ) from err
    if any(sign in str(err) for sign in OUTSIDE):
        raise InputError(
            f"{path} cannot run {what}: it has fewer positions, or a smaller vocabulary, than the config.json beside it says "
            f"({last_line(err)}). Restore the config.json that was exported with it, or export the model again."
        ) from err
    raise InputError(
        f"{path} cannot run {what}: {last_line(err)}. Export the model again, with free batch size and length, and its own "
        "config.json beside it."
    ) from err


def refuse_out_of_memory(err: Exception, what: str) -> None:
    """Raise CompressError where an error is one of memory that ran out."""
    if isinstance(err, MemoryError) or any(sign in str(err) for sign in OUT_OF_MEMORY):
        raise CompressError(f"memory ran out while {what} ({first_line(err)}); {SMALLER}, or free memory.") from err


def _positions(path: Path) -> int | None:
    """How many tokens a model has positions for; None where nothing tells."""
    try:
        positions = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # there is an error to tell of already
    return positions if type(positions) is int and positions > 0 else None
