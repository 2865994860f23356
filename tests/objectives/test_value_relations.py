"""Divergence between the relations of values within each head."""

from __future__ import annotations

from compress.objectives.value_relations import PAIRS, value_relations
from tests.objectives.rows import batch, close, divergence, outputs, relations, unpadded


def test_relations_are_softmaxes_of_products_in_each_head_whatever_its_size() -> None:
    student, teacher = outputs(1, ("value", 2), width=4), outputs(2, ("value", 5), width=6)
    expected = divergence(relations(unpadded(teacher, ("value", 5)), 2), relations(unpadded(student, ("value", 2)), 2))
    assert value_relations(student, teacher, batch(), pairs=((2, 5),), heads=(2, 2)).item() == close(expected)


def test_the_last_layers_are_compared_whatever_the_map_says() -> None:
    assert PAIRS("top", 3, 12) == ((3, 12),)
