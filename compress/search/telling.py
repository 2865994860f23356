"""What a search says: a line for each trial, the record, the page of all trials, and why this one was chosen."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.errors import CompressError, cut, first_line
from compress.pipeline.measuring import json_text
from compress.record import duration, megabytes, milliseconds, write_whole
from compress.reporting.report import render_page
from compress.reporting.side_by_side import runs_to_show
from compress.search.deciding import Stop, front_of
from compress.search.goals import Goals, Outcome, misses
from compress.search.prediction import Candidate

logger = logging.getLogger(__name__)

RECORD, REPORT, SCHEMA = "auto.json", "report.html", 1
MOST_SHOWN = 12
REASONS = {
    "met": "it was the first that met every goal",
    "out of reach": "everything that was left is predicted to miss the goals, so that they are out of reach of what is tried",
    "nothing left": "everything worth trying was tried",
    "time": "the time is spent, and what is left would take longer",
}
Tried = Sequence[tuple[Outcome, Mapping[str, Any]]]


def points_of(fraction: float | None) -> str:
    """A drop in points, with its sign."""
    return "unknown" if fraction is None else f"{100 * fraction:.1f}"


def drop_words(outcome: Outcome) -> str:
    """A drop with its interval."""
    ends = outcome.drop_ci95
    interval = f" (95 %: {points_of(ends[0])} to {points_of(ends[1])})" if ends else ""
    return f"{points_of(outcome.drop)} points{interval}"


def trial_line(number: int, outcome: Outcome, goals: Goals) -> str:
    """A trial in a line."""
    name = outcome.candidate + (f", {outcome.epochs} epochs" if outcome.epochs else "")
    if not outcome.is_measured:
        return f"trial {number}, {name}: failed: {cut(outcome.error, 200)}"
    missed = ", ".join(miss.goal for miss in misses(goals, outcome))
    size = megabytes(outcome.size_bytes)
    return (
        f"trial {number}, {name}: drop {drop_words(outcome)}, {milliseconds(outcome.p50_ms)}, {size}, "
        f"{duration(outcome.seconds)}; {f'misses {missed}' if missed else 'meets every goal'}"
    )


def missed_words(goals: Goals, outcome: Outcome) -> str:
    """What an outcome misses, and by how much."""
    return ", ".join(f"{miss.goal} is {miss.value:.4g}, limit {miss.limit:.4g}" for miss in misses(goals, outcome))


def explained(stop: Stop, tried: Tried, goals: Goals, evaluated: Outcome) -> str:
    """Why this one, in five sentences."""
    best = stop.best
    assert best is not None
    trained = f" after {best.epochs} epochs" if best.epochs else " without any training"
    speed = f"{milliseconds(best.p50_ms)}, {best.speedup or 0:.1f} times as fast as the teacher in torch"
    choice, size = "the choice" if stop.meets else "the nearest", megabytes(best.size_bytes)
    first = f"{best.candidate}{trained} is {choice}: {speed}, {size}."
    second = f"On the selection part, which alone decides, it loses {drop_words(best)}."
    third = "It meets every goal." if stop.meets else f"It misses: {missed_words(goals, best)}."
    others = [outcome for outcome, _ in tried if outcome.is_measured and outcome != best]
    failed = sum(not outcome.is_measured for outcome, _ in tried)
    quickest = min(others, key=lambda outcome: outcome.p50_ms or 0.0, default=None)
    beside = (
        f", of which the fastest other, {quickest.candidate}, takes {milliseconds(quickest.p50_ms)} and loses "
        f"{points_of(quickest.drop)} points"
        if quickest
        else ""
    )
    made = "1 trial was made" if len(tried) == 1 else f"{len(tried)} trials were made"
    fourth = f"{made} ({failed} failed){beside}; the search ended because {REASONS[stop.reason]}."
    fifth = f"Measured once on the evaluation part, which decided nothing, it loses {drop_words(evaluated)}."
    return " ".join([first, second, third, fourth, fifth])


def write_record(
    folder: Path,
    goals: Goals,
    stop: Stop,
    tried: Tried,
    candidates: Sequence[Candidate],
    refused: Mapping[str, str],
    evaluated: Outcome,
    explanation: str,
    no_bundle: str,
    seconds: float,
) -> dict[str, Any]:
    """Write auto.json, and return its content."""
    assert stop.best is not None
    outcomes = [outcome for outcome, _ in tried]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "goals": goals.plain(),
        "seconds": {"allowed": seconds, "spent": round(sum(outcome.seconds for outcome in outcomes), 1)},
        "trials": [{"measured": outcome.plain(), "predicted": dict(predicted)} for outcome, predicted in tried],
        "untried": sorted({candidate.name for candidate in candidates} - {outcome.candidate for outcome in outcomes}),
        "refused": dict(refused),
        "front": [{"candidate": outcome.candidate, "epochs": outcome.epochs} for outcome in front_of(outcomes)],
        "winner": stop.best.plain(),
        "evaluation": evaluated.plain(),
        "meets": stop.meets,
        "missed": [vars(miss) for miss in misses(goals, stop.best)],
        "reason": stop.reason,
        "prediction_errors": prediction_errors(tried),
        "explanation": explanation,
        "no_bundle": no_bundle,
    }
    write_whole(folder / RECORD, json_text(record))
    return record


def prediction_errors(tried: Tried) -> dict[str, float | None]:
    """The median error of what was predicted: of times and sizes relative to what was measured, of the drop as a fraction."""
    errors: dict[str, list[float]] = {"p50_ms": [], "size_bytes": [], "seconds": [], "drop": []}
    for outcome, predicted in tried:
        for name, values in errors.items():
            value, expected = getattr(outcome, name), predicted.get(name)
            if outcome.is_measured and value is not None and expected is not None:
                values.append(abs(expected - value) / (1.0 if name == "drop" else value))
    return {name: statistics.median(values) if values else None for name, values in errors.items()}


def write_report(folder: Path, runs: Sequence[Path]) -> None:
    """Write one page of the last trials beside each other."""
    try:
        write_whole(folder / REPORT, render_page(runs_to_show(list(runs)[-MOST_SHOWN:])))
    except CompressError as err:
        logger.warning("there is no report.html: %s", first_line(err))
