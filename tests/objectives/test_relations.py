"""Divergence between relations of queries, keys and values that are split anew."""

from __future__ import annotations

from typing import Any

import pytest

from compress.objectives.relations import relations
from tests.objectives.rows import batch, close, divergence, outputs, unpadded
from tests.objectives.rows import relations as worked_out

KINDS: tuple[Any, ...] = ("query", "key", "value")


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_three_kinds_of_relations_add_up_at_any_number_of_relation_heads(heads: int) -> None:
    student = outputs(1, *((kind, 2) for kind in KINDS), width=6)
    teacher = outputs(2, *((kind, 4) for kind in KINDS), width=12)
    expected = sum(
        divergence(worked_out(unpadded(teacher, (kind, 4)), heads), worked_out(unpadded(student, (kind, 2)), heads))
        for kind in KINDS
    )
    assert relations(student, teacher, batch(), pairs=((2, 4),), relation_heads=heads).item() == close(expected)
