"""Which layer learns from which."""

from __future__ import annotations

from typing import Any

import pytest

from compress.errors import InputError
from compress.objectives.layer_map import all_but_last, each_layer, embeddings, last_layer


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        (2, 2, (1, 2)),
        (2, 6, (3, 6)),
        (3, 6, (2, 4, 6)),
        (3, 12, (4, 8, 12)),
        (1, 4, (4,)),
        (4, 6, (2, 3, 4, 6)),
        (4, 1, (1, 1, 1, 1)),
    ],
)
def test_uniform_pairs_layers_of_the_same_height(student: int, teacher: int, layers: tuple[int, ...]) -> None:
    assert each_layer("uniform", student, teacher) == tuple(enumerate(layers, 1))


def test_patient_distillation_s_two_maps_are_those_of_its_paper() -> None:
    """Six layers from twelve: PKD-Skip learns from 2, 4, 6, 8, 10 and PKD-Last from 7 to 11."""
    assert [layer for _, layer in all_but_last("uniform", 6, 12)] == [2, 4, 6, 8, 10]
    assert [layer for _, layer in all_but_last("top", 6, 12)] == [7, 8, 9, 10, 11]


def test_last_pairs_the_last_layers_alone_and_a_list_is_taken_as_it_is() -> None:
    assert each_layer("last", 3, 12) == last_layer("uniform", 3, 12) == ((3, 12),)
    assert each_layer([5, 1, 12], 3, 12) == ((1, 5), (2, 1), (3, 12))
    assert embeddings("top", 3, 12) == ((0, 0),)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([1, 2], "layers names 2 layers, but the student has 3; name one for each"),
        ([1, 2, 13], r"layers is \[1, 2, 13\], which asks for layer 13 of a teacher with layers 1 to 12"),
    ],
)
def test_maps_that_cannot_be_are_refused(layers: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        each_layer(layers, 3, 12)


def test_a_student_deeper_than_its_teacher_has_no_top_to_learn_from() -> None:
    with pytest.raises(InputError, match="layer -1 of a teacher with layers 1 to 4"):
        each_layer("top", 6, 4)
