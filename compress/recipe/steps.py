"""Check the lists of a recipe: steps, their names, what they refer to, and exports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import compress.methods as methods
import compress.objectives as objectives
from compress import targets
from compress.errors import cut
from compress.recipe.mistakes import KeyPath, Mistakes, nearest, shown, unknown
from compress.recipe.plan import INPUT_MODEL, Export, Step
from compress.recipe.signatures import Table, names_a_step

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Entry:
    """One item of `steps` or `export` as written: its key in the table, its arguments, its `as`."""

    key: str
    arguments: dict[str, Any]
    given_name: str | None
    path: KeyPath


@dataclass
class StepNames:
    """The steps that stand above the place that is being checked, and what they can be called.

    explicit: every `as` of the recipe.
    words: every `as` and method of the recipe; they tell a later step from an unknown one.
    in_doubt: a step or its name could not be read; a name that is not found may be that one's.
    """

    explicit: set[str]
    words: set[str]
    in_doubt: bool
    earlier: list[Step] = field(default_factory=list)

    def named(self, value: Any, path: KeyPath, mistakes: Mistakes) -> str:
        """Return the name of the step that `value` means: by its `as`, or its method if that is unique."""
        if value == INPUT_MODEL:
            return INPUT_MODEL
        names = [step.name for step in self.earlier]
        by_method = [step.name for step in self.earlier if step.method == value]
        known = ", ".join([*names, INPUT_MODEL])
        if not isinstance(value, str):
            mistakes.add(path, f"{shown(value)} is no step; give the name of an earlier one: {known}")
        elif value in names and (value in self.explicit or len(by_method) <= 1):
            return value
        elif len(by_method) == 1:
            return by_method[0]
        elif by_method:
            said = f"several steps are '{value}': {', '.join(by_method)}"
            mistakes.add(path, f"{said}; name the one you mean with `as:` and use that name")
        elif value in self.words:
            mistakes.add(path, f"'{cut(value)}' is no earlier step; allowed is what stands above: {known}")
        elif not self.in_doubt or nearest(value, names):
            mistakes.add(path, f"'{cut(value)}' is an {unknown('step', value, [*names, INPUT_MODEL])}")
        return str(value)


def check_steps(given: Any, mistakes: Mistakes) -> tuple[tuple[Step, ...], StepNames]:
    """Check `steps` without importing a method.

    Notes what is wrong; returns the steps that can be read, and how later keys may refer to them.
    """
    before = len(mistakes.entries)
    entries = _entries(given, "steps", "method", methods.METHODS, mistakes)
    in_doubt = len(mistakes.entries) > before
    explicit = {entry.given_name for entry in entries if entry.given_name}
    names = StepNames(explicit, explicit | {entry.key for entry in entries}, in_doubt)
    for entry, name in zip(entries, _names(entries, mistakes), strict=True):
        arguments = dict(entry.arguments)
        for key, value in arguments.items():
            path = (*entry.path, entry.key, key)
            if value is None:
                continue  # the signature tells whether that is allowed
            if names_a_step(key):
                arguments[key] = names.named(value, path, mistakes)
            elif key == "objectives":
                _check_objectives(value, path, mistakes)
        names.earlier.append(Step(entry.key, arguments, name, mistakes.place(entry.path).line, int(entry.path[-1])))
    return tuple(names.earlier), names


def check_exports(given: Any, mistakes: Mistakes) -> tuple[Export, ...]:
    """Check `export` without importing a target; note mistakes and return the exports that can be read."""
    entries = _entries(given, "export", "target", targets.TARGETS, mistakes)
    first: dict[str, int] = {}
    for entry in entries:
        if entry.key in first:
            said = f"this target is there twice, first in line {first[entry.key]}; keep one"
            mistakes.add((*entry.path, entry.key), said)
        first.setdefault(entry.key, mistakes.place(entry.path).line)
    return tuple(Export(entry.key, entry.arguments, mistakes.place(entry.path).line, int(entry.path[-1])) for entry in entries)


def _entries(given: Any, section: str, what: str, table: Table, mistakes: Mistakes) -> list[Entry]:
    if given is None:
        return []
    if not isinstance(given, list):
        said = f"write each {what} on a line of its own after '- '"
        mistakes.add((section,), f"{shown(given)} is no list; {said}")
        return []
    entries = []
    for index, item in enumerate(given):
        entry = _entry(item, (section, index), what, table, mistakes)
        if entry is not None:
            entries.append(entry)
    return entries


def _entry(item: Any, path: KeyPath, what: str, table: Table, mistakes: Mistakes) -> Entry | None:
    example = f"write `- {next(iter(table), what)}: {{...}}`"
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or not item:
        mistakes.add(path, f"{shown(item)} is no {what}; {example}")
        return None
    may_be_named = what == "method"
    keys = [key for key in item if not (may_be_named and key == "as")]
    known = [key for key in keys if key in table]
    for key in keys:
        if key not in table and not known:
            mistakes.add((*path, key), unknown(what, key, table))
        elif key not in table and may_be_named and nearest(key, ["as"]):
            mistakes.add((*path, key), "unknown key; did you mean 'as'?")
        elif key not in table:
            also = " and `as`" if may_be_named else ""
            said = f"unknown key; an item has one {what}{also}: indent it under {known[0]} if it is its own"
            mistakes.add((*path, key), said)
    if len(known) > 1:
        mistakes.add((*path, known[1]), f"this item has {len(known)} {what}s; start each with '- '")
    if not keys:
        mistakes.add(path, f"a name without a {what}; {example}")
    if len(known) != 1:
        return None
    arguments = item[known[0]]
    if arguments is not None and not isinstance(arguments, dict):
        said = f"{shown(arguments)} is no mapping; write {known[0]}: {{key: value}}, or nothing after the ':'"
        mistakes.add((*path, known[0]), said)
        mistakes.closed.add((*path, known[0]))
        arguments = None
    return Entry(known[0], arguments or {}, _given_name(item, path, mistakes) if may_be_named else None, path)


def _given_name(item: dict[str, Any], path: KeyPath, mistakes: Mistakes) -> str | None:
    if "as" not in item:
        return None
    name = item["as"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        said = f"{shown(name)} is no name; use letters, digits, '_' and '-'"
        mistakes.add((*path, "as"), f"{said}, in quotes if it is a number" if isinstance(name, int) else said)
        return None
    if name == INPUT_MODEL:
        said = f"'{INPUT_MODEL}' means the model that the recipe starts from; use another name"
        mistakes.add((*path, "as"), said)
        return None
    return name


def _names(entries: Sequence[Entry], mistakes: Mistakes) -> list[str]:
    taken: dict[str, int] = {}
    for entry in entries:
        if entry.given_name in taken:
            said = f"'{cut(entry.given_name)}' is already the step of line {taken[entry.given_name]}"
            mistakes.add((*entry.path, "as"), f"{said}; use another name")
        elif entry.given_name:
            taken[entry.given_name] = mistakes.place(entry.path).line
    names = []
    for entry in entries:
        name, count = entry.given_name or entry.key, 1
        while not entry.given_name and name in taken:
            count += 1
            name = f"{entry.key}_{count}"
        taken.setdefault(name, mistakes.place(entry.path).line)
        names.append(name)
    return names


def _check_objectives(given: Any, path: KeyPath, mistakes: Mistakes) -> None:
    table = objectives.OBJECTIVES
    if not isinstance(given, dict) or not given:
        said = f"{shown(given)} is no mapping of objectives to weights, with at least one"
        mistakes.add(path, f"{said}; write {{{next(iter(table), 'name')}: 1.0}}; allowed: {', '.join(table)}")
        return
    for name, weight in given.items():
        if name not in table:
            mistakes.add((*path, name), unknown("objective", name, table))
        elif isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
            mistakes.add((*path, name), f"{shown(weight)} is no weight; allowed: a number above 0")
