"""Hold a call from Python to the ranges that the function's own signature states, as a recipe is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from compress.errors import InputError, raise_together
from compress.knobs import signature_of

P = ParamSpec("P")
R = TypeVar("R")
OBJECTS = frozenset({"model", "teacher", "task", "run", "folder"})
STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def within_range(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that the signature does not allow, all of them at once, before anything runs.

    `inspect.signature` shows the knobs of what is returned as keywords of their own.

    Raises (when called):
        InputError: A value is out of range or of another type, or there is no such argument.
    """
    name, signature = function.__name__, signature_of(function)
    parameters = signature.parameters

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        unknown = [key for key in kwargs if key not in parameters]
        if unknown:
            allowed = ", ".join(key for key in parameters if key not in OBJECTS) or "none"
            raise InputError(f"{name} has no option {', '.join(unknown)}; allowed: {allowed}.")
        raise_together(
            [
                f"{name}.{problem}"
                for key, value in kwargs.items()
                if key not in OBJECTS
                for problem in _problems(key, value, _annotation(function, parameters[key].annotation))
            ]
        )
        return function(*args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked


def fits_together(wrong: Callable[..., list[str]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse arguments that are allowed each, but not together; recipes are checked with the same function.

    Args:
        wrong: Is given some of the function's arguments by their names, and returns what is wrong with them: sentences that
            begin with the name of an argument.

    Raises (when called):
        InputError: Something is wrong.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = signature_of(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            raise_together([f"{function.__name__}.{problem}" for problem in wrong_together(checked, bound.arguments)])
            return function(*args, **kwargs)

        checked.wrong_together = wrong  # type: ignore[attr-defined]
        return checked

    return decorated


def with_presets(presets: Mapping[str, Mapping[str, Any]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let `preset` name values of other arguments, which stand where those are not given; recipes are read with the same ones.

    Args:
        presets: Name -> argument -> value; the function has an argument `preset`.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def filled(*args: P.args, **kwargs: P.kwargs) -> R:
            kwargs.update({key: value for key, value in preset_of(filled, kwargs).items() if key not in kwargs})
            return function(*args, **kwargs)

        filled.presets = presets  # type: ignore[attr-defined]
        return filled

    return decorated


def preset_of(function: Callable[..., Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the preset that is given stands for, by the function's own `with_presets`; nothing where there is none such."""
    presets: Mapping[str, Mapping[str, Any]] = getattr(function, "presets", {})
    name = given.get("preset")
    return presets.get(name, {}) if isinstance(name, str) else {}


def wrong_together(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """What a function that is decorated with `fits_together` has against its arguments; nothing where one of them is left out,
    as in a recipe with a mistake that was told."""
    wrong = getattr(function, "wrong_together", None)
    if wrong is None:
        return []
    names = set(inspect.signature(wrong).parameters)
    return wrong(**{name: arguments[name] for name in names}) if names <= arguments.keys() else []


def one_of_two(first: str, value: object, second: str, other: object, hint: str = "") -> list[str]:
    """What is wrong where exactly one of two arguments is to be given, and None stands for the other."""
    if value is None and other is None:
        return [f"{first} is missing, and so is {second}; give one of the two{hint}."]
    return [f"{first} and {second} are both given; give one of the two{hint}."] if None not in (value, other) else []


def _annotation(function: Callable[..., Any], annotation: Any) -> Any:
    return eval(annotation, dict(inspect.unwrap(function).__globals__)) if isinstance(annotation, str) else annotation


def _problems(name: str, value: Any, annotation: Any) -> list[str]:
    try:
        TypeAdapter(annotation, config=STRICT).validate_python(value)
    except ValidationError as err:
        return [
            f"{'.'.join([name, *(str(part) for part in problem['loc'])])} is {problem['input']!r}: {problem['msg']}."
            for problem in err.errors(include_url=False)
        ]
    return []
