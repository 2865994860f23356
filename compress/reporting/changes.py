"""What changed between two records, in words: their recipes by resolved keys, their data, versions and machines."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.errors import cut
from compress.record import part

MOST_SHOWN_CHARACTERS = 100
NAME = "as"
"""The key of a step that is no method."""
OF_ROWS = "fingerprint"
ROOMS = ("recipe", "data", "versions", "machine")
"""What may have changed, in the order in which it is listed."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was.

    Args:
        key: Where it stands, such as `steps[2].distill.epochs`.
        says: What became of it: "3 -> 5", "added: 5", "removed, was 3".
    """

    key: str
    says: str

    def __str__(self) -> str:
        """Write it on one line."""
        return f"{self.key}: {self.says}"


def changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, list[Change]]:
    """Tell what changed from the runs of one side to those of the other, for each of ROOMS.

    Args:
        before: run.json of each seed.
        after: The same of the other side.
    """
    first, second = before[0], after[0]
    recipes = (_without_seed(part(run, "recipe")) for run in (first, second))
    seeds = [", ".join(str(part(run, "recipe").get("seed")) for run in runs) for runs in (before, after)]
    return {
        "recipe": [*_changed("seed", *seeds), *recipe_changes(*recipes)],
        "data": data_changes(part(first, "data"), part(second, "data")),
        "versions": [
            *_changed("commit", first.get("commit"), second.get("commit")),
            *plain_changes(part(first, "versions"), part(second, "versions")),
        ],
        "machine": plain_changes(part(first, "machine"), part(second, "machine")),
    }


def _without_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "seed"}


def recipe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Compare two resolved recipes key by key; a step that was put in or taken out moves no other one."""
    plain = [{key: value for key, value in recipe.items() if key not in ("steps", "export")} for recipe in (before, after)]
    listed = plain_changes(plain[0], plain[1])
    for key in ("steps", "export"):
        listed += _changes_of_list(key, before.get(key) or [], after.get(key) or [])
    return listed


def _changes_of_list(key: str, before: Sequence[Any], after: Sequence[Any]) -> list[Change]:
    """Compare lists of {method: arguments, as: name}; places are counted from 0, those of what is there in the second list."""
    names = [[_method(entry) for entry in entries] for entries in (before, after)]
    listed: list[Change] = []
    for what, start, stop, begin, end in difflib.SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if what == "equal":
            for own, other in zip(range(start, stop), range(begin, end), strict=True):
                listed += plain_changes(before[own], after[other], f"{key}[{other}]")
            continue
        listed += [
            Change(f"{key}[{place}].{names[0][place]}", f"removed, was {_arguments(before[place])}")
            for place in range(start, stop)
        ]
        listed += [
            Change(f"{key}[{place}].{names[1][place]}", f"added: {_arguments(after[place])}") for place in range(begin, end)
        ]
    return listed


def _method(entry: Any) -> str:
    return next((str(key) for key in entry if key != NAME), "") if isinstance(entry, Mapping) else str(entry)


def _arguments(entry: Any) -> str:
    """What a step or an export was asked for, without its name."""
    return _value(next((value for key, value in entry.items() if key != NAME), {}) if isinstance(entry, Mapping) else entry)


def data_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Compare what was learned from and measured on; of rows it tells in which parts they are others."""
    if not before or not after:
        return []
    listed = plain_changes(_counts(before), _counts(after), "data")
    parts = [part(data, "splits") for data in (before, after)]
    marks = [{name: part(splits, name).get(OF_ROWS) for name in splits} for splits in parts]
    others = [name for name in marks[0] if name in marks[1] and None not in (marks[0][name], marks[1][name])]
    listed += [Change(f"data.splits.{name}", "other rows") for name in others if marks[0][name] != marks[1][name]]
    if not others and before.get(OF_ROWS) != after.get(OF_ROWS):
        listed.append(Change("data", "other rows, in some part"))
    return listed


def _counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Data without what follows from its rows."""
    plain = {key: value for key, value in data.items() if key not in (OF_ROWS, "splits")}
    splits = part(data, "splits")
    return plain | {"splits": {name: {"examples": part(splits, name).get("examples")} for name in splits}}


def plain_changes(before: Any, after: Any, path: str = "") -> list[Change]:
    """Compare two values, objects key by key; a list is one value."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return _changed(path, before, after)
    listed: list[Change] = []
    for key in dict.fromkeys([*before, *after]):
        place = f"{path}.{key}".lstrip(".")
        if key not in after:
            listed.append(Change(place, f"removed, was {_value(before[key])}"))
        elif key not in before:
            listed.append(Change(place, f"added: {_value(after[key])}"))
        else:
            listed += plain_changes(before[key], after[key], place)
    return listed


def _changed(key: str, before: Any, after: Any) -> list[Change]:
    is_same = before == after and isinstance(before, bool) == isinstance(after, bool)
    return [] if is_same else [Change(key, f"{_value(before)} -> {_value(after)}")]


def _value(value: Any) -> str:
    """A value as a recipe would have it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return cut(text, MOST_SHOWN_CHARACTERS)
