"""Read a signature with the keywords spelled out that several functions share as `**knobs: Unpack[SomeKnobs]`.

`SomeKnobs` is a TypedDict: each key is a keyword of its own, with the type and the range that its annotation states, and the
default of the `Field` in it. Where signatures are the schema, they are read here.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, get_args, get_origin

import typing_extensions
from pydantic.fields import FieldInfo
from typing_extensions import get_original_bases, get_type_hints, is_typeddict

_UNPACKS = (typing.Unpack, typing_extensions.Unpack)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature, with each of its knobs as a keyword of its own, behind the others."""
    signature, knobs = inspect.signature(function), knobs_of(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    if knobs is None or len(own) == len(signature.parameters):  # there are none, or a decorator has spelled them out
        return signature
    return signature.replace(parameters=[*own, *spelled_out(knobs)])


def knobs_of(function: Callable[..., Any]) -> type | None:
    """Return the TypedDict of a function's `**knobs: Unpack[...]`; None where it has no such keywords."""
    plain = inspect.unwrap(function)
    for parameter in inspect.signature(plain).parameters.values():
        annotation = parameter.annotation
        if parameter.kind is not parameter.VAR_KEYWORD:
            continue
        if isinstance(annotation, str) and "Unpack[" in annotation:  # others may name what is there for mypy alone
            annotation = eval(annotation, dict(plain.__globals__))
        if get_origin(annotation) in _UNPACKS:
            (knobs,) = get_args(annotation)
            return knobs
    return None


def spelled_out(knobs: type) -> list[inspect.Parameter]:
    """Return the keys of a TypedDict as parameters; one without a default has to be given."""
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(annotation), annotation=annotation)
        for name, annotation in get_type_hints(knobs, include_extras=True).items()
    ]


def defaults_of(knobs: type) -> dict[str, Any]:
    """Return the value of each key that has one where nothing is given."""
    return {parameter.name: parameter.default for parameter in spelled_out(knobs) if parameter.default is not parameter.empty}


def docstrings_of(knobs: type) -> str:
    """Return what is written about the keys: the docstrings of a TypedDict and of those that it extends, these first."""
    extended = [docstrings_of(base) for base in get_original_bases(knobs) if is_typeddict(base)]
    return "\n\n".join([*extended, inspect.getdoc(knobs) or ""])


def _default(annotation: Any) -> Any:
    fields = [field for field in get_args(annotation)[1:] if isinstance(field, FieldInfo) and not field.is_required()]
    return fields[-1].default if fields else inspect.Parameter.empty
