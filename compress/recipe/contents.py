"""List what a table holds, read from the source of its modules without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compress.knobs import docstrings_of, knobs_of
from compress.recipe.signatures import public_name
from compress.sources import tree_of

_LABEL = re.compile(r"\*?([A-Z][A-Za-z /]*)\*?:\s*")


@dataclass(frozen=True)
class Entry:
    """One row of `bert-compress list`.

    summary: the first line of the docstring.
    source: the paper or code that it is from; empty when the docstring names none.
    """

    name: str
    summary: str
    source: str


def summaries(table: Mapping[str, str]) -> list[Entry]:
    """Describe every entry of a table (METHODS, OBJECTIVES, TARGETS, TASKS, RUNTIMES), in its order.

    An entry whose module has no file yet is listed with empty texts.
    """
    return [_entry(name, module) for name, module in table.items()]


def docstring(module: str, name: str) -> str:
    """Return the docstring of a module's function or class `name`, else the module's, else an empty text."""
    tree = tree_of(module)
    if tree is None:
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ast.get_docstring(tree) or ""
    return ast.get_docstring(tree) or ""


def parameter_texts(text: str, names: list[str]) -> dict[str, str]:
    """Return what a docstring says about each parameter: `name: text`, continued on indented lines."""
    texts: dict[str, str] = {}
    current, indent = "", 0
    for line in text.splitlines():
        start = re.match(r"(\s*)`{0,2}(\w+)`{0,2}:\s+(.*)", line)
        depth = len(line) - len(line.lstrip())
        if start and start[2] in names:
            current, indent = start[2], depth
            texts[current] = start[3].strip()
        elif current and line.strip() and depth > indent:
            texts[current] += f" {line.strip()}"
        else:
            current = ""
    return texts


def meanings(function: Callable[..., Any], text: str, names: list[str]) -> dict[str, str]:
    """Return what is written about each parameter: in the function's docstring `text`, else in that of its knobs."""
    knobs = knobs_of(function)
    shared = parameter_texts(docstrings_of(knobs), names) if knobs else {}
    return shared | parameter_texts(text, names)


def _entry(name: str, module: str) -> Entry:
    text = docstring(module, public_name(name))
    return Entry(name, text.partition("\n")[0].strip(), _source(text))


def _source(text: str) -> str:
    """Return the paragraph after `Source:`, up to a blank line or the next label."""
    lines: list[str] = []
    for line in text.splitlines():
        label = _LABEL.match(line.strip())
        if label and label[1] == "Source":
            lines = [line.strip()[label.end() :]]
        elif lines and (label or not line.strip()):
            break
        elif lines:
            lines.append(line.strip())
    return " ".join(lines).strip()
