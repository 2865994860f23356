"""Which layer of the teacher a layer of the student learns from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compress.errors import InputError
from compress.objectives.outputs import Pairs

LayerMap = Annotated[
    Literal["uniform", "top", "last"] | list[Annotated[int, Field(ge=1)]],
    Field(
        description="uniform: evenly spread; top: the teacher's last ones; last: the last alone; or one layer for each of "
        "the student's, counted from 1"
    ),
]


def each_layer(layers: LayerMap, student_depth: int, teacher_depth: int) -> Pairs:
    """Pair each of M student layers, counted from 1, with one of N teacher layers.

    Uniform is j -> round(j N / M), but at least 1 (TinyBERT's map); top is j -> N - M + j; last is M -> N alone.

    Raises:
        InputError: The map names another number of layers than the student has, or one that the teacher does not have.
    """
    if layers == "last":
        return ((student_depth, teacher_depth),)
    if layers == "uniform":
        teacher_layers = [max(1, round(layer * teacher_depth / student_depth)) for layer in range(1, student_depth + 1)]
    elif layers == "top":
        teacher_layers = [teacher_depth - student_depth + layer for layer in range(1, student_depth + 1)]
    else:
        teacher_layers = list(layers)
    if len(teacher_layers) != student_depth:
        raise InputError(
            f"layers names {len(teacher_layers)} layers, but the student has {student_depth}; name one for each of these."
        )
    outside = [layer for layer in teacher_layers if not 1 <= layer <= teacher_depth]
    if outside:
        raise InputError(
            f"layers is {layers!r}, which asks for layer {outside[0]} of a teacher with layers 1 to {teacher_depth}; name "
            "others, or use uniform."
        )
    return tuple(enumerate(teacher_layers, 1))


def all_but_last(layers: LayerMap, student_depth: int, teacher_depth: int) -> Pairs:
    """As `each_layer`, without the student's last layer, which the logits teach."""
    return each_layer(layers, student_depth, teacher_depth)[:-1]


def last_layer(layers: LayerMap, student_depth: int, teacher_depth: int) -> Pairs:
    """The last layers of both, whatever the map says."""
    return each_layer("last", student_depth, teacher_depth)


def embeddings(layers: LayerMap, student_depth: int, teacher_depth: int) -> Pairs:
    """The embeddings' outputs of both."""
    return ((0, 0),)
