"""What a person wants of the file that is shipped, what became of a trial, and how far the one is from the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from compress.errors import InputError, raise_together
from compress.search.trial import COMPLETE

LEAST_DROP = 0.005
"""A drop is no nearer than half a point to what is allowed, however little that is."""
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Goals:
    """Limits of the shipped file, at batch 1 and one thread; None where there is none.

    Args:
        max_drop: Of the task's metric against the teacher, a fraction (of a perplexity the share by which it may be higher).
        p50_ms: Median latency.
        p95_ms: Its 95th percentile.
        speedup: Times faster than the teacher in torch.
        max_mb: Of the file, in millions of bytes.
        min_recall: By label or type of entity, the share that has to be found.
    """

    max_drop: float = 0.01
    p50_ms: float | None = None
    p95_ms: float | None = None
    speedup: float | None = None
    max_mb: float | None = None
    min_recall: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_end(self) -> bool:
        """Whether some file is fast or small enough; else the fastest that keeps the quality is looked for."""
        return any(limit is not None for limit in (self.p50_ms, self.p95_ms, self.speedup, self.max_mb))

    def gates(self) -> dict[str, Any]:
        """The limits as a recipe's `gates`, which knows no median."""
        wanted = {
            "max_drop": self.max_drop,
            "min_speedup": self.speedup,
            "max_p95_ms": self.p95_ms,
            "max_size_bytes": None if self.max_mb is None else int(self.max_mb * BYTES_PER_MB),
            "min_recall": dict(self.min_recall) or None,
            "allow_slower": True,
        }
        return {name: limit for name, limit in wanted.items() if limit is not None}

    def plain(self) -> dict[str, Any]:
        """Itself as JSON has it."""
        return asdict(self) | {"min_recall": dict(self.min_recall)}


def check_goals(goals: Goals, classes: tuple[str, ...], kind: str) -> None:
    """Raise InputError where a limit cannot be, two contradict each other, or the task has no such label.

    Args:
        goals: All of them are checked, and all that is wrong is told.
        classes: Of the task's kind, see `TaskKind.classes`.
        kind: For the message.
    """
    wrong = []
    if not 0 <= goals.max_drop <= 1:
        wrong.append(f"--max-drop is {goals.max_drop:g}; allowed: a fraction from 0 to 1, such as 0.01 for a point.")
    for option, limit in (
        ("--p50-ms", goals.p50_ms),
        ("--p95-ms", goals.p95_ms),
        ("--speedup", goals.speedup),
        ("--max-mb", goals.max_mb),
    ):
        if limit is not None and not 0 < limit < math.inf:
            wrong.append(f"{option} is {limit:g}; allowed: a number above 0. Correct it, or leave it out.")
    if goals.p50_ms and goals.p95_ms and goals.p95_ms < goals.p50_ms:
        wrong.append(
            f"--p95-ms is {goals.p95_ms:g}, below --p50-ms {goals.p50_ms:g}, which then says nothing: the 95th percentile is "
            "never below the median. Leave one out."
        )
    if goals.speedup and (goals.p50_ms or goals.p95_ms):
        wrong.append(
            f"--speedup {goals.speedup:g} and a latency in milliseconds were both given, and either may ask for more than the "
            "other; give one of them."
        )
    for label, least in goals.min_recall.items():
        if label not in classes:
            allowed = ", ".join(classes[:20]) if classes else f"nothing, since a task of {kind} has no labels"
            wrong.append(f"--gate recall.{label} names no label of the task; allowed: {allowed}.")
        elif not 0 <= least <= 1:
            wrong.append(f"--gate recall.{label} is {least:g}; allowed: a fraction from 0 to 1, such as 0.98.")
    raise_together(wrong)


def recall_gates(given: tuple[str, ...]) -> dict[str, float]:
    """Read `recall.LABEL=0.98`, each label once.

    Raises:
        InputError: One is written otherwise.
    """
    gates: dict[str, float] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        label = name.removeprefix("recall.")
        try:
            least = float(value)
        except ValueError:
            least = math.nan
        if not equals or label == name or not label or math.isnan(least):
            raise InputError(f"--gate is {text!r}; allowed: recall.LABEL=FRACTION, as in recall.EMAIL=0.98.")
        if label in gates:
            raise InputError(f"--gate recall.{label} is there twice; give each label once.")
        gates[label] = least
    return gates


@dataclass(frozen=True)
class Outcome:
    """What became of a trial, as it is judged on the selection part; None where nothing was measured.

    Args:
        candidate: Its name.
        epochs: Of its training; 0 where nothing is trained.
        status: "complete" or "failed".
        seconds: It took.
        drop: Against the teacher; positive is worse.
        drop_ci95: Both ends of its 95 % interval.
        p50_ms: Median latency of the file.
        p95_ms: Its 95th percentile.
        speedup: Against the teacher in torch.
        size_bytes: Of the file.
        recall: Of each label that a goal names.
        error: Why it failed.
        folder: Where the trial is.
    """

    candidate: str
    epochs: int
    status: str = COMPLETE
    seconds: float = 0.0
    drop: float | None = None
    drop_ci95: tuple[float, float] | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    speedup: float | None = None
    size_bytes: int | None = None
    recall: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    folder: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether it says anything."""
        return self.status == COMPLETE and self.drop is not None and self.p50_ms is not None

    def plain(self) -> dict[str, Any]:
        """Itself as JSON has it; `outcome_of` reads it back."""
        ends = None if self.drop_ci95 is None else list(self.drop_ci95)
        return asdict(self) | {"recall": dict(self.recall), "drop_ci95": ends}


def outcome_of(plain: Mapping[str, Any]) -> Outcome:
    """The outcome that `Outcome.plain` wrote."""
    values = {field.name: plain[field.name] for field in fields(Outcome) if field.name in plain}
    ends = values.get("drop_ci95")
    return Outcome(**values | {"drop_ci95": None if ends is None else (ends[0], ends[1])})


@dataclass(frozen=True)
class Miss:
    """A goal that an outcome misses: its name, its limit, what was measured, and how far that is, 0 for not at all."""

    goal: str
    limit: float
    value: float
    distance: float


def misses(goals: Goals, outcome: Outcome) -> list[Miss]:
    """The goals that a measured outcome misses; a value that equals its limit is right."""
    size_mb = None if outcome.size_bytes is None else outcome.size_bytes / BYTES_PER_MB
    missed = []
    if outcome.drop is not None and outcome.drop > goals.max_drop:
        distance = math.log1p((outcome.drop - goals.max_drop) / max(goals.max_drop, LEAST_DROP))
        missed.append(Miss("max_drop", goals.max_drop, outcome.drop, distance))
    for name, limit, value in (
        ("p50_ms", goals.p50_ms, outcome.p50_ms),
        ("p95_ms", goals.p95_ms, outcome.p95_ms),
        ("max_mb", goals.max_mb, size_mb),
    ):
        if limit is not None and value is not None and value > limit:
            missed.append(Miss(name, limit, value, math.log(value / limit)))
    if goals.speedup is not None and outcome.speedup is not None and outcome.speedup < goals.speedup:
        missed.append(Miss("speedup", goals.speedup, outcome.speedup, math.log(goals.speedup / max(outcome.speedup, 1e-9))))
    for label, least in goals.min_recall.items():
        value = outcome.recall.get(label, 0.0)
        if value < least:
            missed.append(Miss(f"recall.{label}", least, value, math.log1p((least - value) / max(1 - least, LEAST_DROP))))
    return missed


def distance(goals: Goals, outcome: Outcome) -> float:
    """How far an outcome is from the goals together; 0 where it meets them."""
    return sum(miss.distance for miss in misses(goals, outcome))
