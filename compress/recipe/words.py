"""Say a type annotation in plain words: `Annotated[int, Field(ge=1)]` is a whole number at least 1.

pydantic checks values by the annotation and says which limit one breaks; these words say all that is allowed.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from typing_extensions import get_type_hints, is_typeddict

from compress.recipe.mistakes import shown

_PLAIN: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
    bool: ("true or false", "true or false each"),
    type(None): ("null", "null"),
    dict: ("a mapping", "mappings"),
    list: ("a list", "lists"),
}


def in_words(annotation: Any, many: bool = False) -> str:
    """Describe what an annotation allows, as one value or (`many`) as the items of a list."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        said = in_words(arguments[0], many)
        parts = _limits(arguments[1:], _sized(arguments[0]))
        return f"{said}{', each' if many else ''} {', '.join(parts)}" if parts else said
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(part, many) for part in arguments)
    if origin is Literal:
        return _choices(arguments)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choices([member.value for member in annotation])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = in_words(arguments[1], many=True)
        return f"{'mappings' if many else 'a mapping'} of names to {value}"
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        return f"{'lists' if many else 'a list'} of {in_words(arguments[0], many=True)}"
    if is_typeddict(annotation):
        return _keys(get_type_hints(annotation, include_extras=True))
    if annotation in _PLAIN:
        return _PLAIN[annotation][many]
    return getattr(annotation, "__name__", str(annotation))


def _keys(hints: Mapping[str, Any]) -> str:
    """A mapping with keys of its own; what the value may be, where it is one."""
    if len(hints) > 1:
        return f"a mapping with the keys {', '.join(hints)}"
    return f"a mapping {{{', '.join(f'{key}: {in_words(hint)}' for key, hint in hints.items())}}}"


def choices(annotation: Any) -> list[str]:
    """Return the texts that a Literal or Enum anywhere in the annotation allows."""
    if get_origin(annotation) is Literal:
        return [value for value in get_args(annotation) if isinstance(value, str)]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation if isinstance(member.value, str)]
    return [name for part in get_args(annotation) for name in choices(part)]


def _choices(values: Sequence[Any]) -> str:
    said = [f"'{value}'" if isinstance(value, str) else shown(value) for value in values]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


def _sized(annotation: Any) -> str:
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _sized(get_args(annotation)[0])
    if origin is str:
        return "character"
    return "entry" if isinstance(origin, type) and issubclass(origin, Mapping) else "item"


def _limits(metadata: Sequence[Any], item: str) -> list[str]:
    limits: dict[str, Any] = {}
    for part in metadata:
        for limit in part.metadata if isinstance(part, FieldInfo) else [part]:
            for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of", "pattern"):
                if getattr(limit, name, None) is not None:
                    limits[name] = getattr(limit, name)
    parts = _range(limits) + _length(limits, item)
    if "multiple_of" in limits:
        parts.append(f"a multiple of {limits['multiple_of']}")
    if "pattern" in limits:
        parts.append(f"of the form {limits['pattern']}")
    return parts


def _range(limits: Mapping[str, Any]) -> list[str]:
    if "ge" in limits and "le" in limits:
        return [f"from {limits['ge']} to {limits['le']}"]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = " and ".join(f"{word} {limits[name]}" for name, word in words.items() if name in limits)
    return [said] if said else []


def _length(limits: Mapping[str, Any], item: str) -> list[str]:
    low, high = limits.get("min_length"), limits.get("max_length")
    plural = {"entry": "entries"}.get(item, f"{item}s")
    if low is not None and low == high:
        return [f"with exactly {low} {item if low == 1 else plural}"]
    said = []
    if low:
        said.append(f"at least {low}")
    if high is not None:
        said.append(f"at most {high}")
    last = high if high is not None else low
    return [f"with {' and '.join(said)} {item if last == 1 else plural}"] if said else []
