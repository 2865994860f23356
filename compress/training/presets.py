"""Knobs of `distill` for a size of data, each by one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small_data": {"epochs": 20, "patience": 4, "batch_size": 16, "dropout": 0.0},
    "large_data": {"epochs": 3, "batch_size": 64},
}
"""Values of the knobs that a recipe leaves out.

Of small data, many short epochs, ended by the selection part: three passes over 3,000 rows are too few steps for a student to
become its teacher. What keeps it from learning by heart is that it learns the teacher's numbers and not the labels. The
teacher's answers are kept, so that a further epoch costs the student's time alone."""
SMALL_ROWS = 20_000
"""Training rows below which data is small."""

Preset = Annotated[
    Literal["small_data", "large_data"] | None,
    Field(description="values of epochs, patience, batch_size and dropout, where those are left out, for a size of data"),
]


def preset_for(rows: int) -> str:
    """The preset for so many training rows."""
    return "small_data" if rows < SMALL_ROWS else "large_data"
