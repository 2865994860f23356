"""Keywords that functions share are read off their TypedDict as if each function named them."""

from __future__ import annotations

import inspect
import typing
from typing import Annotated, Any

import pytest
import typing_extensions
from pydantic import Field
from typing_extensions import TypedDict

from compress.arguments import fits_together, within_range
from compress.errors import InputError
from compress.knobs import defaults_of, docstrings_of, knobs_of, signature_of, spelled_out
from compress.recipe.signatures import recipe_parameters, takes_any_key
from compress.training.compatibility import labels_aligned

Count = Annotated[int, Field(ge=1, description="how many")]


class Few(TypedDict, total=False):
    """Few of them.

    Args:
        count: How many.
    """

    count: Annotated[Count, Field(default=2)]


class Many(Few, total=False):
    """More of them.

    Args:
        rate: How fast.
    """

    rate: Annotated[float | None, Field(default=None, gt=0)]


class Needed(TypedDict):
    count: Annotated[int, Field(ge=1)]


def _wrong(count: int, low: int) -> list[str]:
    return [f"low is {low}, but count is {count}."] if low > count else []


@within_range
@fits_together(_wrong)
@labels_aligned()
def method(model: Any, *, low: int = 0, run: Any = None, **knobs: typing.Unpack[Many]) -> Any:
    """An example."""
    return low, knobs


def plain(model: str, **knobs: typing.Unpack[Few]) -> None: ...


def of_the_other(model: str, **knobs: typing_extensions.Unpack[Few]) -> None: ...


def anything(model: str, **options: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("signature", [inspect.signature(method), signature_of(method)])
def test_each_knob_is_a_keyword_with_its_type_and_default_behind_the_others(signature: inspect.Signature) -> None:
    assert [(parameter.name, parameter.kind.name, parameter.default) for parameter in signature.parameters.values()] == [
        ("model", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("low", "KEYWORD_ONLY", 0),
        ("run", "KEYWORD_ONLY", None),
        ("count", "KEYWORD_ONLY", 2),
        ("rate", "KEYWORD_ONLY", None),
    ]
    assert repr(signature.parameters["rate"].annotation) == repr(Annotated[float | None, Field(default=None, gt=0)])


@pytest.mark.parametrize("function", [plain, of_the_other])
def test_a_function_without_decorators_is_read_alike(function: Any) -> None:
    assert knobs_of(function) is Few
    assert list(signature_of(function).parameters) == ["model", "count"]
    assert list(recipe_parameters(function)) == ["count"]
    assert not takes_any_key(function)


def test_other_keywords_stay_what_they_are_and_are_not_evaluated() -> None:
    assert knobs_of(anything) is None
    assert signature_of(anything) == inspect.signature(anything)
    assert takes_any_key(anything)


def test_a_key_without_a_default_has_to_be_given() -> None:
    assert [knob.default for knob in spelled_out(Needed)] == [inspect.Parameter.empty]
    assert defaults_of(Needed) == {}
    assert defaults_of(Many) == {"count": 2, "rate": None}


def test_what_is_written_about_them_includes_what_is_extended() -> None:
    assert docstrings_of(Many) == "Few of them.\n\nArgs:\n    count: How many.\n\nMore of them.\n\nArgs:\n    rate: How fast."


def test_a_call_is_given_what_was_given() -> None:
    assert method("m") == (0, {})
    assert method("m", low=1, count=1) == (1, {"count": 1})


def test_a_misspelled_knob_is_refused_with_all_that_is_allowed() -> None:
    with pytest.raises(InputError, match=r"^method has no option cuont; allowed: low, count, rate\.$"):
        method("m", cuont=3)


def test_knobs_out_of_range_are_refused_together() -> None:
    with pytest.raises(InputError, match=r"^method\.count is 0: .* or equal to 1\.\nmethod\.rate is '1': .*\.$"):
        method("m", count=0, rate="1")


@pytest.mark.parametrize("given", [{"low": 3}, {"low": 2, "count": 1}])
def test_a_knob_can_be_held_against_other_arguments_its_default_too(given: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"^method\.low is \d, but count is \d\.$"):
        method("m", **given)
