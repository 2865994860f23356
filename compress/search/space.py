"""What a sweep may choose: a range of numbers, or one of several values, for a dotted key of the recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compress.recipe.mistakes import KeyPath, Mistakes, shown, unknown

if TYPE_CHECKING:
    from optuna.trial import Trial

RANGE_KEYS = ("low", "high", "log", "step")
CHOICES = "choices"
ALLOWED = "{low: NUMBER, high: NUMBER}, with log: true or a step where wanted, or {choices: [VALUE, VALUE, ...]}"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are whole.

    Args:
        low: The smallest.
        high: The largest.
        log: Whether their logarithms are drawn evenly.
        step: Between two neighbours, counted from `low`; None for any number between (of whole ones, 1).
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole numbers."""
        return all(isinstance(end, int) for end in (self.low, self.high))

    def examples(self) -> list[Any]:
        """Values that the recipe has to take."""
        return [self.low, self.high]

    def points(self) -> list[Any] | None:
        """All of its values as optuna keeps them, in rising order; None where there are infinitely many."""
        if self.step is None and not self.is_whole:
            return None
        step = self.step or 1
        return [self.low + step * number for number in range(math.floor((self.high - self.low) / step + 1e-9) + 1)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let a trial choose."""
        if self.is_whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def plain(self) -> dict[str, Any]:
        """Itself as a sweep file has it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False) or name in ("low", "high")}


@dataclass(frozen=True)
class Choices:
    """One of several values, of any kind: texts, lists, whole steps."""

    choices: tuple[Any, ...]

    def examples(self) -> list[Any]:
        """Values that the recipe has to take."""
        return list(self.choices)

    def points(self) -> list[str]:
        """All of them as optuna keeps them, which has no lists: their texts as JSON."""
        return [json.dumps(choice, sort_keys=True) for choice in self.choices]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let a trial choose."""
        return self.choices[self.points().index(trial.suggest_categorical(key, self.points()))]

    def plain(self) -> dict[str, Any]:
        """Itself as a sweep file has it."""
        return {CHOICES: list(self.choices)}


Dimension = Range | Choices


def read_space(given: Any, path: KeyPath, mistakes: Mistakes) -> dict[str, Dimension]:
    """Read what may be chosen, key -> dimension; mistakes are noted and what has some is left out."""
    if not isinstance(given, dict) or not given:
        what = "missing" if given is None else f"{shown(given)} is no mapping of keys to what they may be"
        mistakes.add(path, f"{what}; give at least one: steps.distill.learning_rate: {{low: 1e-5, high: 5e-4, log: true}}")
        return {}
    read = {key: _read_dimension(value, (*path, key), mistakes) for key, value in given.items()}
    return {key: dimension for key, dimension in read.items() if dimension is not None}


def _read_dimension(given: Any, path: KeyPath, mistakes: Mistakes) -> Dimension | None:
    before = len(mistakes.entries)
    if not isinstance(given, dict) or not given:
        mistakes.add(path, f"{shown(given)} is nothing to choose from; write {ALLOWED}")
        return None
    allowed = (CHOICES,) if CHOICES in given else RANGE_KEYS
    for key in given:
        if key not in allowed:
            is_mixed = key in (*RANGE_KEYS, CHOICES)
            mistakes.add(
                (*path, key), "choices and a range exclude each other; keep one" if is_mixed else _unknown(key, allowed)
            )
    dimension = _choices(given, path, mistakes) if CHOICES in given else _range(given, path, mistakes)
    return dimension if len(mistakes.entries) == before else None


def _unknown(key: str, allowed: tuple[str, ...]) -> str:
    return unknown("key", key, allowed if allowed == (CHOICES,) else (*RANGE_KEYS, CHOICES))


def _choices(given: Mapping[str, Any], path: KeyPath, mistakes: Mistakes) -> Choices | None:
    choices = given[CHOICES]
    if not isinstance(choices, list) or len(choices) < 2:
        mistakes.add((*path, CHOICES), f"{shown(choices)} leaves nothing to choose; give a list of two values or more")
        return None
    texts = [json.dumps(choice, sort_keys=True) for choice in choices]
    for index, text in enumerate(texts):
        if text in texts[:index]:
            mistakes.add((*path, CHOICES, index), f"{shown(choices[index])} is there twice; keep one")
    return Choices(tuple(choices))


def _range(given: Mapping[str, Any], path: KeyPath, mistakes: Mistakes) -> Range | None:
    missing = [name for name in ("low", "high") if name not in given]
    if missing:
        mistakes.add(path, f"{' and '.join(missing)} missing; write {ALLOWED}")
        return None
    for name in ("low", "high", "step"):
        value = given.get(name)
        if (value is not None or name in ("low", "high")) and (isinstance(value, bool) or not isinstance(value, int | float)):
            mistakes.add((*path, name), f"{shown(value)} is no number")
            return None
    if not isinstance(given.get("log", False), bool):
        mistakes.add((*path, "log"), f"{shown(given['log'])} is not allowed; allowed: true or false")
        return None
    read = Range(given["low"], given["high"], given.get("log", False), given.get("step"))
    for key, said in _wrong_range(read):
        mistakes.add((*path, key), said)
    return read


def _wrong_range(read: Range) -> list[tuple[str, str]]:
    wrong = []
    if read.low > read.high:
        wrong.append(("low", f"{shown(read.low)} is above high, {shown(read.high)}; swap the two"))
    elif read.low == read.high:
        wrong.append(("low", f"{shown(read.low)} is high too, which leaves nothing to choose; write it into the recipe"))
    if read.log and read.low <= 0:
        wrong.append(("low", f"{shown(read.low)} has no logarithm; with log: true use a low above 0"))
    if read.step is not None and read.log:
        wrong.append(("step", "a step and log: true exclude each other; keep one"))
    elif read.step is not None and not 0 < read.step <= max(read.high - read.low, 0):
        wrong.append(("step", f"{shown(read.step)} does not fit; use one above 0, at most high - low"))
    elif read.step is not None and read.is_whole and not isinstance(read.step, int):
        wrong.append(("step", f"{shown(read.step)} is not whole, but low and high are; write them as 1.0 for any number"))
    return wrong
