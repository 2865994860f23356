"""Apply `key=value` overrides of the command line to a recipe, before it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.errors import InputError, cut
from compress.recipe.document import Document, parse
from compress.recipe.mistakes import KeyPath, Mistakes, Place, unknown


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Set values of the document by dotted paths; later overrides win.

    A step is named by its `as`, its method or its number from 0 (`steps.distill.epochs=1`), an export by its
    target.
    Values are read as YAML. What an override gets wrong is noted in the document's mistakes.
    """
    for override in overrides:
        path, equals, value = override.partition("=")
        place = Place(0, override)
        parts = path.strip().split(".")
        if not equals or not all(parts):
            said = "this is no override; write key=value, such as seed=3 or steps.distill.epochs=1"
            document.mistakes.add((), said, place)
            continue
        try:
            parsed = parse(value, "override")
        except InputError as err:
            said = str(err).partition(": ")[2]
            document.mistakes.add((), f"the value cannot be read: {said}; put it in quotes", place)
            continue
        if parsed.mistakes:
            for *_, text in parsed.mistakes.entries:
                document.mistakes.add((), text.partition(": ")[2], place)
            continue
        _set(document, parts, parsed.data, place)


def _set(document: Document, parts: Sequence[str], value: Any, place: Place) -> None:
    mistakes = document.mistakes
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        return
    if parts[0] in ("steps", "export") and len(parts) > 1:
        item_path = _item(document.data, parts, mistakes, place)
        if item_path is None:
            return
        path = item_path
    else:
        path = tuple(parts)
    target, inner = _descend(document.data, path[:-1], place, mistakes)
    last: str | int = path[-1]
    if isinstance(target, list):
        if not str(last).isdecimal() or int(last) >= len(target):
            allowed = f"0 to {len(target) - 1}" if target else "none, the list is empty"
            mistakes.add(inner, f"'{cut(str(last))}' is no item of the list; allowed: {allowed}", place)
            return
        last = int(last)
    path = (*inner, last)
    for old in [old for old in mistakes.places if old[: len(path)] == path]:
        del mistakes.places[old]
    mistakes.places[path] = place
    target[last] = value


def _descend(data: Any, path: KeyPath, place: Place, mistakes: Mistakes) -> tuple[Any, KeyPath]:
    """Walk to the container that takes the last key; make mappings of what is missing or short for one."""
    inner: KeyPath = ()
    for part in path:
        key: Any = part
        if isinstance(data, list):
            if not str(part).isdecimal() or int(part) >= len(data):
                return data, inner
            key = int(part)
        inner = (*inner, key)
        following = data[key] if isinstance(data, list) else data.get(key)
        if not isinstance(following, dict | list):
            unfolded = _unfolded(following, inner)
            if not unfolded:
                mistakes.places[inner] = place
            following = data[key] = unfolded
        data = following
    return data, inner


def _unfolded(value: Any, path: KeyPath) -> dict[str, Any]:
    """Return the mapping that a short form stands for: `task: sst2`, `- drop_layers`."""
    if value is not None and path == ("task",):
        return {"data": value}
    if isinstance(value, str) and len(path) == 2 and path[0] in ("steps", "export"):
        return {value: {}}
    return {}


def _item(data: dict[str, Any], parts: Sequence[str], mistakes: Mistakes, place: Place) -> KeyPath | None:
    """Turn `steps.NAME.key` into a path by number and method, or note what it could have meant."""
    section, wanted, rest = parts[0], parts[1], tuple(parts[2:])
    items = data.get(section)
    if not isinstance(items, list):
        mistakes.add((section,), f"the recipe has no list of {section} to change", place)
        return None
    keys = [_key(item) for item in items]
    names = [item.get("as") if isinstance(item, dict) else None for item in items]
    indices = [index for index, name in enumerate(names) if name == wanted]
    indices = indices or [index for index, key in enumerate(keys) if key == wanted]
    if not indices and wanted.isdecimal() and int(wanted) < len(items):
        indices = [int(wanted)]
    what = "step" if section == "steps" else "export"
    if len(indices) > 1:
        said = f"'{cut(wanted)}' is more than one {what}; use its number: {', '.join(map(str, indices))}"
        mistakes.add((section,), said, place)
        return None
    if not indices:
        known = [str(name or key) for name, key in zip(names, keys, strict=True) if name or key]
        mistakes.add((section,), f"'{cut(wanted)}' is an {unknown(what, wanted, known)}", place)
        return None
    index = indices[0]
    key = keys[index]
    whole = not rest and wanted == str(index)
    if key is None or whole or rest == ("as",) or rest[:1] == (key,):
        return (section, index, *rest)
    return (section, index, key, *rest)


def _key(item: Any) -> str | None:
    if isinstance(item, str):
        return item
    keys = [key for key in item if key != "as"] if isinstance(item, dict) else []
    return keys[0] if keys else None
