"""Say in our own words why a runtime could not run a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import InputError

CONFIG = "config.json"


def cannot_run(path: Path, batch: Mapping[str, Any], err: Exception, *, most: int | None = None) -> InputError:
    """The error to raise for a batch that a file's runtime refused.

    Args:
        path: The ONNX file; its folder's config.json tells how many positions the model has.
        batch: With input_ids, (batch, length).
        err: The runtime's.
        most: Tokens that the file reads at once, where that is something else than its positions.
    """
    examples, length = batch["input_ids"].shape
    most = most or _positions(path.with_name(CONFIG))
    if most is not None and length > most:
        return InputError(
            f"{path} was given {examples} texts of {length} tokens, but it reads {most} at most; cut the texts to {most} "
            f"tokens (truncation=True, max_length={most})."
        )
    lines = [line.strip() for line in str(err).splitlines() if line.strip()] or [type(err).__name__]
    return InputError(
        f"{path} cannot run {examples} examples of {length} tokens: {lines[-1][:300]} Export the model again, with free batch "
        "size and length."
    )


def _positions(path: Path) -> int | None:
    """How many tokens a model has positions for; None where nothing tells."""
    try:
        told = json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # there is an error to tell of already
    return told if type(told) is int and told > 0 else None
