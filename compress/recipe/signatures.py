"""Read what a recipe may say about a method off its signature, and check it with pydantic."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from compress.arguments import preset_of
from compress.knobs import signature_of
from compress.recipe.mistakes import KeyPath, Mistakes, nearest, shown, stands_for, unknown
from compress.recipe.slices import sliced
from compress.recipe.words import choices, in_words

SUPPLIED = frozenset({"task", "run", "folder"})
"""Parameters that the pipeline fills in; a recipe cannot."""

Table = Mapping[str, str]


def public_name(entry: str) -> str:
    """Return the name of the function of a table's entry: `onnxruntime-cpu` is `onnxruntime_cpu`."""
    return entry.replace("-", "_")


def load_function(table: Table, entry: str) -> Callable[..., Any]:
    """Import the module of a table's entry and return its public function."""
    return getattr(importlib.import_module(table[entry]), public_name(entry))


def load_signature(table: Table, entry: str) -> Callable[..., Any]:
    """Return the public function of a table's entry, or one without a body that is told by the same source.

    The module is imported only where its source alone does not tell the signature.
    """
    module, name = table[entry], public_name(entry)
    bare = None if module in sys.modules else sliced(module, name, _is_no_key)
    return load_function(table, entry) if bare is None else bare


def _is_no_key(parameter: str) -> bool:
    return parameter in SUPPLIED or names_a_step(parameter)


def names_a_step(parameter: str) -> bool:
    """Say whether a parameter takes a model, which a recipe gives as the name of an earlier step."""
    return parameter == "teacher" or parameter.endswith("_model")


def recipe_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that a recipe may give, with annotations evaluated.

    Left out are the first positional parameter (the model), `*args`, `**kwargs` and what the pipeline
    supplies; their annotations are not evaluated. Knobs are parameters like others. Models are given as the names of steps.
    """
    parameters = list(signature_of(function).parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.KEYWORD_ONLY and not inspect.isclass(function):
        parameters = parameters[1:]
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    kept = [parameter for parameter in parameters if parameter.kind not in skipped and parameter.name not in SUPPLIED]
    return {parameter.name: parameter.replace(annotation=_annotation(function, parameter)) for parameter in kept}


def takes_any_key(function: Callable[..., Any]) -> bool:
    """Say whether a function has `**kwargs` that are no knobs, so that its signature cannot tell which keys are wrong."""
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature_of(function).parameters.values())


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    if names_a_step(parameter.name):
        return str if parameter.default is not None else str | None
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return Any
    if isinstance(annotation, str):
        plain = inspect.unwrap(function)
        module = importlib.import_module(plain.__module__) if inspect.isclass(plain) else None
        names = vars(module) if module else plain.__globals__
        return eval(annotation, dict(names))
    return annotation


def argument_model(function: Callable[..., Any], leave_out: Sequence[str] = ()) -> type[BaseModel]:
    """Build the pydantic model of the arguments that a recipe may give to `function`.

    Strict: no "3" for 3, no 1 for true; unknown keys are refused; infinities are refused.
    """
    fields: dict[str, Any] = {}
    for name, parameter in recipe_parameters(function).items():
        if name in leave_out:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        # The trailing letters keep a parameter called `copy` or `schema` apart from pydantic's own methods.
        fields[f"{name}_given"] = (Annotated[parameter.annotation, Field(alias=name)], default)
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(getattr(function, "__name__", "arguments"), __config__=config, **fields)


def check_arguments(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    path: KeyPath,
    mistakes: Mistakes,
    hints: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Check arguments against a signature and return them with the defaults filled in.

    path: where the arguments stand in the recipe; mistakes are noted there.
    hints: a sentence by parameter, added to what is said about its value.
    leave_out: parameters that are checked elsewhere.
    Returns what was given when there was a mistake.
    """
    model = argument_model(function, leave_out)
    given = {**preset_of(function, given), **given}
    try:
        checked = model.model_validate_json(json.dumps(given))
    except ValidationError as err:
        _note(err, recipe_parameters(function), given, path, mistakes, hints or {})
        return dict(given)
    return {name.removesuffix("_given"): getattr(checked, name) for name in model.model_fields}


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Say that a method has no such key."""
    if name in SUPPLIED:
        return f"'{name}' is filled in when the recipe is run; delete the key"
    return unknown("key", name, known)


def _note(
    err: ValidationError,
    parameters: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
    path: KeyPath,
    mistakes: Mistakes,
    hints: Mapping[str, str],
) -> None:
    details = err.errors(include_url=False)
    places = [_where(detail["loc"], given)[0] for detail in details]
    for index, detail in enumerate(details):
        if _is_echo(places, index):
            continue
        name = str(detail["loc"][0])
        if name not in parameters:
            mistakes.add((*path, name), unknown_key(name, parameters))
        elif name not in given:
            if stands_for(name, given, parameters):
                continue
            mistakes.add((*path, name), f"missing; give {_allowed(parameters[name])}")
        else:
            value = _where(detail["loc"], given)[1]
            said = _value_message(value, parameters[name], detail) + hints.get(name, "")
            mistakes.add((*path, *places[index]), said)


def _is_echo(places: Sequence[KeyPath], index: int) -> bool:
    """Say whether another error tells more: a union has one per branch, a bad item shortens its list."""
    own = places[index]
    return bool(own) and (own in places[:index] or any(len(place) > len(own) and place[: len(own)] == own for place in places))


def _where(location: tuple[int | str, ...], given: Mapping[str, Any]) -> tuple[KeyPath, Any]:
    """Follow pydantic's location as far as the data goes; the rest names branches of a union."""
    value: Any = given
    inner: list[int | str] = []
    for part in location:
        inside = isinstance(part, int) and isinstance(value, list) and part < len(value)
        if inside or (isinstance(value, dict) and part in value):
            value = value[part]
            inner.append(part)
        elif isinstance(value, dict) and str(part) in value:
            value = value[str(part)]
            inner.append(str(part))
    return tuple(inner), value


def _allowed(parameter: inspect.Parameter) -> str:
    return "the name of an earlier step" if names_a_step(parameter.name) else in_words(parameter.annotation)


def _value_message(value: Any, parameter: inspect.Parameter, detail: Any) -> str:
    said = f"{shown(value)} is not allowed; allowed: {_allowed(parameter)}"
    if parameter.default is not inspect.Parameter.empty:
        said += f" (default: {shown(parameter.default)})"
    if detail["type"] in ("value_error", "assertion_error"):
        said = f"{shown(value)} is not allowed: {detail['msg'].partition(', ')[2]}; {said.partition('; ')[2]}"
    meant = nearest(value, choices(parameter.annotation)) if isinstance(value, str) else None
    if meant:
        return f"{said}; did you mean '{meant}'?"
    return said + _other_spelling(value, detail["type"])


def _other_spelling(value: Any, problem: str) -> str:
    wants_number = problem.startswith(("int_", "float_"))
    if wants_number and isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return f"; write {value} without quotes"
    if wants_number and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if problem.startswith("bool_") and str(value).lower() in ("yes", "on", "no", "off", "1", "0"):
        return f"; write {'true' if str(value).lower() in ('yes', 'on', '1') else 'false'}"
    return ""
