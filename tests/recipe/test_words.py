"""Annotations in plain words."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from compress.augmentation.sentences import AugmentOptions
from compress.recipe.words import choices, in_words
from compress.tasks import Evaluation


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "a whole number"),
        (Annotated[int, Field(ge=1)], "a whole number at least 1"),
        (Annotated[int, Field(ge=1, le=8)], "a whole number from 1 to 8"),
        (Annotated[float, Field(gt=0, lt=1)], "a number above 0 and below 1"),
        (Annotated[float, Field(gt=0)] | None, "a number above 0 or null"),
        (Annotated[int, Field(multiple_of=8)], "a whole number a multiple of 8"),
        (Annotated[str, Field(min_length=2, max_length=5)], "a text with at least 2 and at most 5 characters"),
        (bool, "true or false"),
        (list[int], "a list of whole numbers"),
        (tuple[Annotated[int, Field(ge=1)], ...], "a list of whole numbers, each at least 1"),
        (Annotated[list[str], Field(min_length=1)], "a list of texts with at least 1 item"),
        (Annotated[list[str], Field(min_length=2, max_length=2)], "a list of texts with exactly 2 items"),
        (Annotated[dict[str, float], Field(min_length=1)], "a mapping of names to numbers with at least 1 entry"),
        (Literal["a", "b", 3], "'a', 'b' or 3"),
        (Literal["auto"] | int, "'auto' or a whole number"),
        (Size, "'small' or 'large'"),
        (Evaluation, "a mapping {from_train: a whole number at least 50}"),
        (
            AugmentOptions | None,
            "a mapping with the keys kind, copies, probability, candidates, mask, window, window_words, masked_lm or null",
        ),
        (Any, "Any"),
    ],
)
def test_an_annotation_is_said_with_its_limits(annotation: Any, said: str) -> None:
    assert in_words(annotation) == said


def test_choices_are_found_inside_unions_and_annotations() -> None:
    assert choices(Annotated[Literal["a", "b", 1], Field()] | Size | None) == ["a", "b", "small", "large"]
