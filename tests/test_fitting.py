"""Arguments that do not fit together are refused, in a call as in a recipe."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from compress.arguments import fits_together, within_range, wrong_together
from compress.errors import InputError


def _wrong(low: int, high: int) -> list[str]:
    return [f"low is {low}, but high is {high}; swap them."] if low > high else []


@within_range
@fits_together(_wrong)
def between(model: str, *, low: Annotated[int, Field(ge=0)] = 0, high: int = 5) -> str:
    """An example."""
    return f"{model} {low} {high}"


def test_what_fits_is_passed_on() -> None:
    assert between("m", low=5) == "m 5 5"
    assert wrong_together(between, {"low": 1, "high": 2, "others": None}) == []


def test_what_does_not_fit_is_refused_defaults_included() -> None:
    with pytest.raises(InputError, match=r"^between\.low is 6, but high is 5; swap them\.$"):
        between("m", low=6)
    assert wrong_together(between, {"low": 6, "high": 5}) == ["low is 6, but high is 5; swap them."]


def test_each_value_is_checked_first() -> None:
    with pytest.raises(InputError, match=r"^between\.low is -1: "):
        between("m", low=-1, high=-2)


def test_a_function_without_such_a_check_has_nothing_against_anything() -> None:
    assert wrong_together(len, {}) == []
