"""Read a recipe: YAML in, a checked plan out, or one error that lists every mistake."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from compress.errors import InputError
from compress.recipe.checking import check_signatures, check_structure
from compress.recipe.document import MOST_CHARACTERS, Document, decode, dump, parse
from compress.recipe.overrides import apply_overrides
from compress.recipe.plan import Plan

_ENDINGS = (".yaml", ".yml")
LARGEST_FILE = 4 * MOST_CHARACTERS


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read and check a recipe file.

    path: a YAML file.
    overrides: `key=value` with dotted keys, applied before the checks: `seed=3`, `steps.distill.epochs=1`.

    Every argument is checked against the signature of its method, and the defaults are filled in; no method is imported.
    Raises InputError that lists every mistake with its line and what to write instead.
    """
    path = Path(path)
    return _read(text_in(path), str(path), path.stem, path, overrides)


def read_recipe_text(text: str, overrides: Sequence[str] = (), *, source: str = "recipe") -> Plan:
    """Read and check a recipe given as text, as `read_recipe` does; `source` names it in messages."""
    return _read(text, source, "recipe", None, overrides)


def recipe_text(plan: Plan) -> str:
    """Write a plan as YAML that reads back to the same plan."""
    return dump(plan.resolved())


def text_in(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        InputError: It is not there, cannot be read, or is none; recipes beside it are told.
    """
    raw = _bytes(path)
    if len(raw) > LARGEST_FILE:
        raise InputError(f"{path}:1: more than {LARGEST_FILE:,} bytes are no recipe, which is a page; is it the right file?")
    return decode(raw, str(path))


def check_document(document: Document, default_name: str, path: Path | None) -> Plan | None:
    """Check a parsed recipe and note its mistakes, all of them; without any, return its plan with the defaults filled in."""
    plan = check_structure(document, default_name, path)
    if plan is not None:
        document.mistakes.close_said()
        plan = check_signatures(plan, document.mistakes)
    return None if document.mistakes else plan


def _read(text: str, source: str, default_name: str, path: Path | None, overrides: Sequence[str]) -> Plan:
    document = parse(text, source)
    apply_overrides(document, overrides)
    plan = check_document(document, default_name, path)
    document.mistakes.raise_any()
    assert plan is not None, "a recipe that gave no plan has mistakes"
    return plan


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        listed = ", ".join(name for name in _recipes(path)[:5]) or "none"
        raise InputError(f"{path} is a folder; give a recipe file (.yaml). Recipes in it: {listed}")
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)  # what is larger is refused by its length; a device may never end
    except FileNotFoundError as err:
        raise InputError(f"{path}: there is no such file; {_instead(path)}") from err
    except OSError as err:
        raise InputError(f"{path}: cannot be read ({err.strerror}); give a file that you may read") from err


def _instead(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; check the path from here ({Path.cwd()})"
    recipes = _recipes(path.parent)
    close = difflib.get_close_matches(path.name, recipes, n=3, cutoff=0.4)
    if close:
        return f"did you mean {' or '.join(str(path.parent / name) for name in close)}?"
    return f"recipes in {path.parent}: {', '.join(recipes[:5]) or 'none'}"


def _recipes(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix in _ENDINGS)
