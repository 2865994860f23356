"""Read a sweep file: a recipe and a `sweep` section, checked together, every mistake at once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress import tasks
from compress.errors import InputError, cut
from compress.measures import is_less_better
from compress.recipe.checking import LARGEST_SEED
from compress.recipe.document import Document, dump, parse
from compress.recipe.mistakes import KeyPath, Mistakes, Place, shown, unknown
from compress.recipe.overrides import apply_overrides
from compress.recipe.plan import Plan
from compress.recipe.reading import check_document, text_in
from compress.search.budget import Budget, read_budget
from compress.search.space import Choices, Dimension, read_space
from compress.search.trial import spelled

SECTION = "sweep"
KEYS = ("space", "objectives", "trials", "sampler", "budget", "storage", "seed")
MAXIMIZE, MINIMIZE = "maximize", "minimize"
OBJECTIVES = {"quality": MAXIMIZE, "speedup": MAXIMIZE, "p50_ms": MINIMIZE, "p95_ms": MINIMIZE, "size_bytes": MINIMIZE}
"""What a trial may be judged by, and which way is better; of quality that is the metric's, a perplexity is minimized."""
GRID = "grid"
SAMPLERS = ("tpe", "nsga2", "random", GRID)
MOST_TRIALS = 100_000
DEFAULT_SEED = 13


@dataclass(frozen=True)
class Sweep:
    """A sweep file that passed its checks.

    Args:
        plan: The recipe as it stands, without anything chosen.
        recipe: The same as YAML text.
        space: Dotted key -> what may be chosen.
        objectives: Name -> "maximize" or "minimize"; the first one decides where one is asked for.
        trials: How many, those of every process together.
        sampler: One of SAMPLERS.
        seed: Of the sampler; the recipe's own seed is that of every trial, unless it is chosen too.
        budget: What may be spent.
        storage: A file, or a database's address; None for a file in the sweep's folder.
    """

    plan: Plan
    recipe: str
    space: dict[str, Dimension]
    objectives: dict[str, str]
    trials: int
    sampler: str = "tpe"
    seed: int = DEFAULT_SEED
    budget: Budget = field(default_factory=Budget)
    storage: str | None = None

    def section(self) -> dict[str, Any]:
        """The `sweep` section with its defaults filled in."""
        return {
            "space": {key: dimension.plain() for key, dimension in self.space.items()},
            "objectives": dict(self.objectives),
            "trials": self.trials,
            "sampler": self.sampler,
            "seed": self.seed,
            "budget": self.budget.plain() or None,
            "storage": self.storage,
        }

    def text(self) -> str:
        """Itself as YAML text, which `read_sweep_text` reads back."""
        recipe = parse(self.recipe, SECTION).data
        return dump({**recipe, SECTION: {key: value for key, value in self.section().items() if value is not None}})

    def digest(self) -> str:
        """What its trials depend on, hashed; how many there are, the budget and the storage may change between two starts."""
        kept = {key: self.section()[key] for key in ("space", "objectives", "sampler", "seed")}
        return hashlib.sha256(json.dumps([self.recipe, kept], sort_keys=True).encode()).hexdigest()


def read_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: A YAML file: a recipe with a section `sweep`.
        overrides: `key=value` with dotted keys, of the recipe or of the section: `sweep.trials=5`.

    Raises:
        InputError: It lists every mistake with its line, those of the recipe and those of values that would be chosen.
    """
    path = Path(path)
    return _read(text_in(path), str(path), path.stem, path, overrides)


def read_sweep_text(text: str, overrides: Sequence[str] = (), *, source: str = "sweep") -> Sweep:
    """Read and check a sweep file given as text, as `read_sweep` does; `source` names it in messages."""
    return _read(text, source, "sweep", None, overrides)


def _read(text: str, source: str, default_name: str, path: Path | None, overrides: Sequence[str]) -> Sweep:
    document = parse(text, source)
    apply_overrides(document, overrides)
    mistakes = document.mistakes
    if not isinstance(document.data, dict) or SECTION not in document.data:
        raise InputError(
            f"{source}:1: there is no section `{SECTION}:`, which says what may be chosen; add one with space, objectives and "
            "trials, or use bert-compress run for a recipe."
        )
    given = document.data.pop(SECTION)
    base = copy.deepcopy(document.data)
    plan = check_document(document, default_name, path)
    section = _section(given, base, mistakes)
    if plan is not None and section["space"]:
        _check_examples(base, section["space"], default_name, mistakes)
    mistakes.raise_any()
    assert plan is not None, "a recipe that gave no plan has mistakes"
    named = base if "name" in base else {"name": plan.name, **base}
    return Sweep(plan=plan, recipe=dump(named), **section)


def _section(given: Any, recipe: Mapping[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    path = (SECTION,)
    if not isinstance(given, dict):
        mistakes.add(path, f"{shown(given)} is no mapping; allowed keys: {', '.join(KEYS)}")
        given = {}
    for key in given:
        if key not in KEYS:
            mistakes.add((*path, key), unknown("key", key, KEYS))
    section: dict[str, Any] = {
        "space": read_space(given.get("space"), (*path, "space"), mistakes),
        "objectives": _objectives(given.get("objectives"), (*path, "objectives"), recipe, mistakes),
        "trials": _whole(given, "trials", 1, MOST_TRIALS, None, mistakes),
        "sampler": _named(given, "sampler", SAMPLERS, mistakes),
        "seed": _whole(given, "seed", 0, LARGEST_SEED, DEFAULT_SEED, mistakes),
        "budget": read_budget(given.get("budget"), (*path, "budget"), mistakes),
        "storage": _storage(given.get("storage"), mistakes),
    }
    if section["sampler"] == GRID:
        _check_grid(section["space"], mistakes)
    return section


def _check_grid(space: Mapping[str, Dimension], mistakes: Mistakes) -> None:
    for key, dimension in space.items():
        if dimension.points() is None:
            said = f"has infinitely many values, which {GRID} cannot walk through; give choices or a step"
            mistakes.add((SECTION, "space", key), said)


def _objectives(given: Any, path: KeyPath, recipe: Mapping[str, Any], mistakes: Mistakes) -> dict[str, str]:
    better = OBJECTIVES | {"quality": _better_quality(recipe)}
    if isinstance(given, list):  # names alone, each in its own direction
        for index, name in enumerate(given):
            if not isinstance(name, str) or name not in better:
                mistakes.add((*path, index), unknown("objective", str(name), better))
            elif name in given[:index]:
                mistakes.add((*path, index), f"{name} is there twice; keep one")
        given = {name: better[name] for name in given if isinstance(name, str) and name in better}
    elif not isinstance(given, dict) or not given:
        what = "missing" if given is None else f"{shown(given)} names none"
        mistakes.add(path, f"{what}; give one or more: {{quality: maximize, p50_ms: minimize}}; allowed: {', '.join(better)}")
        return {}
    for name, direction in given.items():
        if name not in better:
            mistakes.add((*path, name), unknown("objective", name, better))
        elif direction not in (MAXIMIZE, MINIMIZE):
            mistakes.add((*path, name), f"{shown(direction)} is no direction; write {better[name]}")
        elif direction != better[name]:
            mistakes.add((*path, name), f"{direction} looks for the worst; write {better[name]}")
    if {"p50_ms", "speedup"} <= given.keys():
        said = "speedup is the baseline's p50_ms by the file's, so the two say the same; keep one"
        mistakes.add((*path, "speedup"), said)
    return {name: direction for name, direction in given.items() if name in better}


def _better_quality(recipe: Mapping[str, Any]) -> str:
    """Which way the metric of the recipe's task is better."""
    task = recipe.get("task")
    section = task if isinstance(task, dict) else {}
    kind = tasks.kind_named(str(section.get("kind", tasks.DEFAULT_KIND)))
    metric = section.get("metric") or (tasks.metrics_of(kind)[0] if kind in tasks.TASKS else "")
    return MINIMIZE if is_less_better(str(metric)) else MAXIMIZE


def _whole(given: Mapping[str, Any], key: str, least: int, most: int, default: int | None, mistakes: Mistakes) -> int:
    value = given.get(key, default)
    if key not in given and default is None:
        mistakes.add((SECTION, key), f"missing; give a whole number from {least} to {most:,}")
    elif isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        mistakes.add((SECTION, key), f"{shown(value)} is not allowed; allowed: a whole number from {least} to {most:,}")
    else:
        return value
    return least


def _named(given: Mapping[str, Any], key: str, allowed: Sequence[str], mistakes: Mistakes) -> str:
    name = given.get(key)
    if name is None:
        return allowed[0]
    if not isinstance(name, str) or name not in allowed:
        mistakes.add((SECTION, key), f"{shown(name)} is an {unknown(key, str(name), allowed)}")
        return allowed[0]
    return name


def _storage(given: Any, mistakes: Mistakes) -> str | None:
    if given is None or (isinstance(given, str) and given.strip()):
        return given
    said = "allowed: a file, also in a shared folder, or the address of a database, such as postgresql://USER@HOST/NAME"
    mistakes.add((SECTION, "storage"), f"{shown(given)} is not allowed; {said}")
    return None


def _check_examples(base: Any, space: Mapping[str, Dimension], default_name: str, mistakes: Mistakes) -> None:
    """Note what the recipe says to the ends of each range, and to each choice, as if they stood in it."""
    for key, dimension in space.items():
        for index, value in enumerate(dimension.examples()):
            inside = (key, "choices", index) if isinstance(dimension, Choices) else (key, ("low", "high")[index])
            for said in _refused(base, key, value, default_name):
                mistakes.add((SECTION, "space", *inside), said)


def _refused(base: Any, key: str, value: Any, default_name: str) -> list[str]:
    tried = Document(copy.deepcopy(base), Mistakes("recipe", {(): Place(1)}))
    (override,) = spelled({key: value})
    apply_overrides(tried, [override])
    check_document(tried, default_name, None)
    prefixes = (f"override '{cut(override)}': ", "recipe:1: ")
    texts = [text for *_, text in sorted(tried.mistakes.entries, key=lambda entry: entry[:2])]
    return [next((text[len(start) :] for start in prefixes if text.startswith(start)), text) for text in texts]
