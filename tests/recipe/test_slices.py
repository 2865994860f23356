"""The part of a module that a signature needs, run without the rest."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from compress.arguments import wrong_together
from compress.knobs import signature_of
from compress.recipe.slices import sliced

HEAVY = """\
raise ImportError("this module is not to be run")
"""
MODULE = '''\
from __future__ import annotations

import no_such_library
from no_such_library import Model
from slices_heavy import Task
from typing import Annotated, Literal, Unpack

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from compress.arguments import fits_together, within_range

no_such_library.set_up()
LEAST, MOST = 1, 9
Count = Annotated[int, Field(ge=LEAST, le=MOST)]


class Options(TypedDict, total=False):
    """What may be asked for."""

    how: Literal["a", "b"]
    count: Count


Options.__pydantic_config__ = ConfigDict(extra="forbid")


class Knobs(Options, total=False):
    """More of it."""

    rate: Annotated[float, Field(default=0.5)]


MEANINGS = {"first": 1}
MEANINGS["second"] = 2


def _even(value):
    return value == 0 or _odd(value - 1)


def _odd(value: Model) -> Model:
    return value != 0 and _even(value - 1)


def _wrong(count: int) -> list[str]:
    return [] if _odd(count) and count in MEANINGS.values() else [f"count is {count}; give 1."]


@within_range
@fits_together(_wrong)
def method(model: Model, *, task: Task, count: Count = MEANINGS["second"], options: Options | None = None) -> Model:
    """Change it."""
    return no_such_library.change(model)


async def waits(model): ...


def trains(model: Model, **knobs: Unpack[Knobs]) -> Model: ...


method_of = method
'''


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"slices_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "slices_heavy.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def _skips(parameter: str) -> bool:
    return parameter == "task"


def _method(module: str) -> Callable[..., Any]:
    function = sliced(module, "method", _skips)
    assert function is not None
    return function


def test_a_signature_is_read_though_its_module_cannot_be_imported(modules: str) -> None:
    function = _method(modules)
    parameters = inspect.signature(function).parameters
    assert list(parameters) == ["model", "task", "count", "options"]
    assert (parameters["count"].default, inspect.getdoc(function), function.__module__) == (2, "Change it.", modules)
    assert modules not in sys.modules
    assert "slices_heavy" not in sys.modules


def test_types_of_the_module_are_made_with_all_that_is_said_about_them(modules: str) -> None:
    names = inspect.unwrap(_method(modules)).__globals__
    assert names["Options"].__pydantic_config__ == {"extra": "forbid"}
    assert set(get_type_hints(names["Options"])) == {"how", "count"}
    assert names["Count"].__metadata__[0].metadata[1].le == 9
    assert "Task" not in names


def test_knobs_are_made_with_what_they_extend(modules: str) -> None:
    function = sliced(modules, "trains", _skips)
    assert function is not None
    assert [(parameter.name, parameter.default) for parameter in signature_of(function).parameters.values()] == [
        ("model", inspect.Parameter.empty),
        ("how", inspect.Parameter.empty),
        ("count", inspect.Parameter.empty),
        ("rate", 0.5),
    ]
    assert "Model" not in function.__globals__


def test_what_is_checked_together_runs_with_the_functions_that_it_calls(modules: str) -> None:
    function = _method(modules)
    assert wrong_together(function, {"count": 1}) == []
    assert wrong_together(function, {"count": 2}) == ["count is 2; give 1."]


@pytest.mark.parametrize("name", ["waits", "method_of", "nowhere"])
def test_what_is_no_plain_function_is_left_to_an_import(name: str, modules: str) -> None:
    assert sliced(modules, name, _skips) is None


def test_a_module_that_is_not_there_is_left_to_an_import() -> None:
    assert sliced("compress.methods.nowhere", "nowhere", _skips) is None
    assert sliced("nowhere_at_all", "nowhere", _skips) is None
