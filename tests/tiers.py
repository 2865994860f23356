"""Which cells of a product run always, and which with the whole tables (`make test-matrix`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_matrix(cells: Iterable[Any], always: Iterable[Any]) -> list[Any]:
    """Mark the cells that run with the matrix alone.

    Args:
        cells: The parameters of a test, in order.
        always: Those that run with every other test; each has to be one of the cells.
    """
    cells, kept = list(cells), list(always)
    assert all(cell in cells for cell in kept)
    return [
        pytest.param(*(cell if isinstance(cell, tuple) else (cell,)), marks=() if cell in kept else pytest.mark.matrix)
        for cell in cells
    ]
