"""Collect the mistakes of a recipe with their places, and raise them together."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from compress.errors import cut, raise_together

RENAMED = {"table_bits": "embedding_bits", "hides": "mlm_probability", "learned_steps": "lsq"}
"""Keys that had another name, and what they are called now."""

KeyPath = tuple[str | int, ...]
"""Where a value stands in a recipe: ("steps", 2, "distill", "epochs")."""


class Place(NamedTuple):
    """Where a value was written: a line of the file, or an override of the command line."""

    line: int
    override: str | None = None


@dataclass
class Mistakes:
    """The mistakes found so far in one recipe.

    source: how the recipe is named in messages, usually its path.
    places: where each value was written; a value without an entry stands where its parent does.
    closed: values about which everything was said; what is added later about them is dropped.
    said: values about which something was said.
    """

    source: str
    places: dict[KeyPath, Place] = field(default_factory=dict)
    entries: list[tuple[bool, int, str]] = field(default_factory=list)
    closed: set[KeyPath] = field(default_factory=set)
    said: set[KeyPath] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self.entries)

    def place(self, path: KeyPath) -> Place:
        """Return where the value at `path`, or the nearest parent of it, was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return Place(1)

    def add(self, path: KeyPath, message: str, place: Place | None = None) -> None:
        """Note one mistake at `path`; `place` overrules where the path was written."""
        if any(path[:end] in self.closed for end in range(len(path) + 1)):
            return
        place = place or self.place(path)
        named = f"{label(path)}: {message}" if path else message
        where = f"{self.source}:{place.line}" if place.override is None else f"override '{cut(place.override)}'"
        text = f"{where}: {named}"
        entry = (place.override is not None, place.line, text)
        self.said.add(path)
        if entry not in self.entries:
            self.entries.append(entry)

    def close_said(self) -> None:
        """Let nothing more be said about an argument of a step or an export about which something was said."""
        self.closed |= {path for path in self.said if len(path) > 3}

    def raise_any(self) -> None:
        """Raise one InputError with every mistake, by line, overrides last; return when there is none."""
        raise_together([text for *_, text in sorted(self.entries, key=lambda entry: entry[:2])])


def label(path: KeyPath) -> str:
    """Write a path as messages name it: `steps[2] distill.epochs`."""
    text = ""
    for index, part in enumerate(path):
        if isinstance(part, int):
            text += f"[{part}]"
        elif index == 2 and path[0] in ("steps", "export") and isinstance(path[1], int):
            text += ".as" if part == "as" else f" {cut(part)}"
        else:
            text += f".{cut(part)}" if text else cut(part)
    return text


def shown(value: Any, longest: int = 60) -> str:
    """Write a value for a message, so that "3" and 3 differ, cut to `longest` characters."""
    return cut(json.dumps(value, ensure_ascii=False, default=str), longest)


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word that was probably meant, or None."""
    plain = {name.lower().replace("-", "_"): name for name in allowed}
    wanted = word.lower().replace("-", "_")
    close = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.6)
    if not close and len(wanted) >= 3:
        close = [name for name in plain if wanted in name or name in wanted]
    return plain[close[0]] if close else None


def stands_for(name: str, given: Iterable[str], known: Collection[str]) -> bool:
    """Say whether a given key is a misspelt `name`, so that `name` need not be called missing too."""
    return any(nearest(key, known) == name for key in given if key not in known)


def unknown(what: str, word: str, allowed: Iterable[str]) -> str:
    """Say that `word` is unknown, what was probably meant, and what is allowed."""
    names = list(allowed)
    if RENAMED.get(word) in names:
        return f"{word!r} is now called {RENAMED[word]!r}"
    meant = nearest(word, names)
    suggestion = f"; did you mean '{meant}'?" if meant else ";"
    return f"unknown {what}{suggestion} allowed: {', '.join(names) or 'none'}"
