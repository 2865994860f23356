"""What a sweep may spend, and how much of it is spent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.recipe.mistakes import KeyPath, Mistakes, shown, unknown

HOUR = 3600.0
GB = 1e9
COST_KEYS = ("amount", "price_per_hour", "currency")
CURRENCY = "currency units"


@dataclass(frozen=True)
class Budget:
    """Limits; None is no limit.

    Args:
        hours: Of all trials together, those of every process and every start of the sweep: two that run at once for an hour
            take two.
        disk_gb: Of the sweep's folder and its cache, in 1e9 bytes.
        memory_gb: Of all processes of this start together, in 1e9 bytes.
        cost: In units of `currency`, at `price_per_hour` for each hour of a trial.
        price_per_hour: Of one process.
        currency: What the units are called.
    """

    hours: float | None = None
    disk_gb: float | None = None
    memory_gb: float | None = None
    cost: float | None = None
    price_per_hour: float | None = None
    currency: str = CURRENCY

    @property
    def seconds(self) -> float | None:
        """Of trials that the hours and the cost leave."""
        limits = [self.hours * HOUR] if self.hours is not None else []
        if self.cost is not None and self.price_per_hour is not None:
            limits.append(self.cost / self.price_per_hour * HOUR)
        return min(limits, default=None)

    def spent(self, seconds: float) -> dict[str, Any]:
        """What so many seconds of trials come to."""
        price = self.price_per_hour
        costs = {} if price is None else {"cost": round(seconds / HOUR * price, 4), "currency": self.currency}
        return {"hours": round(seconds / HOUR, 4), **costs}

    def plain(self) -> dict[str, Any]:
        """Itself as a sweep file has it."""
        named = {"hours": self.hours, "disk_gb": self.disk_gb, "memory_gb": self.memory_gb}
        limits: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if self.cost is not None:
            limits["cost"] = {"amount": self.cost, "price_per_hour": self.price_per_hour, "currency": self.currency}
        return limits


def read_budget(given: Any, path: KeyPath, mistakes: Mistakes) -> Budget:
    """Read the section; mistakes are noted."""
    keys = ("hours", "disk_gb", "memory_gb", "cost")
    if given is None:
        return Budget()
    if not isinstance(given, dict):
        mistakes.add(path, f"{shown(given)} is no mapping; allowed keys: {', '.join(keys)}")
        return Budget()
    values: dict[str, Any] = {key: _positive(given[key], (*path, key), mistakes) for key in keys[:3] if key in given}
    for key in given:
        if key not in keys:
            mistakes.add((*path, key), unknown("key", key, keys))
    return Budget(**values, **_cost(given.get("cost"), (*path, "cost"), mistakes))


def _cost(given: Any, path: KeyPath, mistakes: Mistakes) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        mistakes.add(path, f"{shown(given)} has no price; write {{amount: 5, price_per_hour: 0.4, currency: EUR}}")
        return {}
    for key in given:
        if key not in COST_KEYS:
            mistakes.add((*path, key), unknown("key", key, COST_KEYS))
    for key in COST_KEYS[:2]:
        if key not in given:
            mistakes.add((*path, key), "missing; give a number above 0")
    numbers = {key: _positive(given[key], (*path, key), mistakes) for key in COST_KEYS[:2] if key in given}
    currency = given.get("currency", CURRENCY)
    if not isinstance(currency, str) or not currency.strip():
        mistakes.add((*path, "currency"), f"{shown(currency)} is no text")
    return {"cost": numbers.get("amount"), "price_per_hour": numbers.get("price_per_hour"), "currency": str(currency)}


def _positive(value: Any, path: KeyPath, mistakes: Mistakes) -> float | None:
    if not isinstance(value, bool) and isinstance(value, int | float) and value > 0:
        return float(value)
    mistakes.add(path, f"{shown(value)} is not allowed; allowed: a number above 0")
    return None


def size_on_disk(folders: Iterable[Path]) -> int:
    """Bytes of all files below folders, each file once; links are not followed."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                try:
                    stat = (Path(place) / name).lstat()
                except OSError:  # removed meanwhile
                    continue
                seen[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(seen.values())
