"""The page about the Python interface, from the signatures and docstrings of the public names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import compress
from compress.methods import METHODS
from tools.reference.prose import page, prose

FLOW = ("load", "task", "export", "measure", "save", "run", "SegmentReader")
WIDTH = 100


def python_page() -> str:
    """Tell every public name of `compress`; methods in a line, since a page of their own tells their keys."""
    others = [name for name in compress.__all__ if name not in METHODS]
    named = sorted(others, key=lambda name: FLOW.index(name) if name in FLOW else len(FLOW))
    parts = [part for name in named for part in _told(name)]
    parts += [
        "## Methods",
        "Each takes a model and keyword arguments, and returns a new model; the first one stays as it is. `**knobs` are the "
        "[training knobs](methods.md#training-knobs), each a keyword argument.",
    ]
    for name in METHODS:
        function = getattr(compress, name)
        first = (inspect.getdoc(function) or "").partition("\n")[0]
        parts += [f"### {name}", f"{prose(first)} Keys and sources: [{name}](methods.md#{name}).", signature(name, function)]
    return page(
        "Python",
        "The functions of a recipe are the Python interface; nothing is wrapped. `import compress` loads nothing heavy: each "
        "name is imported when it is first used.",
        *parts,
    )


def _told(name: str) -> list[str]:
    home = getattr(compress, name)
    parts = [f"## {name}", signature(name, home), prose(inspect.getdoc(home) or "")]
    if inspect.isclass(home):
        for method, function in vars(home).items():
            if not method.startswith("_") and inspect.isfunction(function):
                parts += [f"### {name}.{method}", signature(method, function), prose(inspect.getdoc(function) or "")]
    return parts


def signature(name: str, function: Callable[..., Any]) -> str:
    """A signature as code, one parameter to a line where it is long; as the source has it, annotations left out."""
    parameters, seen_keyword = [], False
    for parameter in inspect.signature(inspect.unwrap(function)).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not seen_keyword:
            parameters.append("*")
            seen_keyword = True
        stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")  # type: ignore[call-overload]
        default = "" if parameter.default is parameter.empty else f"={_written(parameter.default)}"
        parameters.append(f"{stars}{parameter.name}{default}")
    line = f"{name}({', '.join(parameters)})"
    if len(line) > WIDTH:
        line = "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), ")"])
    return f"```text\n{line}\n```"


def _written(default: Any) -> str:
    """A default as code has it; a function by its name."""
    return default.__name__ if inspect.isfunction(default) else repr(default)
