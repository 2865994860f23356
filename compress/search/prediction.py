"""What a trial will give, by what was measured so far: latency, size, time and quality, each with a prior of its own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.search.goals import Outcome

LEAST_MS = 0.01
DROP_LEFT = 0.5
"""Of what a short training loses, that a whole one still loses, until it was measured."""
SHORT_MISTAKE = 0.02
"""By how much a whole training may do better than predicted from a short one."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Candidate:
    """One way to a smaller model.

    Args:
        name: Short, unique.
        method: That changes the model; "none" where the file alone does.
        steps: Of a recipe, as plain data, behind the teacher's; those that train have `epochs`, which a short run cuts.
        options: Of the export.
        macs: Multiply-adds of one example.
        parameters: Of the torch model.
        epochs: Of its whole training, the longest step's; 0 where nothing is trained.
        work: What one epoch of it computes, in multiply-adds.
    """

    name: str
    method: str
    steps: tuple[dict[str, Any], ...]
    options: dict[str, Any]
    macs: float
    parameters: float
    epochs: int = 0
    work: float = 0.0

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs of its trials, rising: a short one to compare, then the whole."""
        short = max(1, self.epochs // 4)
        return (self.epochs,) if short >= self.epochs else (short, self.epochs)


@dataclass(frozen=True)
class Prior:
    """What is believed before anything was measured.

    Args:
        teacher_ms: The teacher in torch, one example, one thread.
        teacher_macs: Its multiply-adds.
        gain: How many times faster the file is than torch with as many.
        bytes_per_parameter: Of the file.
        trial_seconds: A trial that trains nothing.
        seconds_per_mac: Of training.
    """

    teacher_ms: float
    teacher_macs: float
    gain: float
    bytes_per_parameter: float
    trial_seconds: float
    seconds_per_mac: float


@dataclass(frozen=True)
class Predicted:
    """What a trial will give; the drop is None where nothing tells it."""

    p50_ms: float
    p95_ms: float
    speedup: float
    size_bytes: float
    seconds: float
    drop: float | None


def line(points: Points, at: float, *, start: float, slope: float) -> float:
    """The value at a place, on the line that fits what was measured.

    One point, or several at one place, move the line believed before in proportion; more give a line of their own, where it
    rises and starts above zero.

    Args:
        points: (place, value).
        at: The place.
        start: Of the line that is believed before.
        slope: The same.
    """
    believed = start + slope * at
    if not points:
        return believed
    places, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    if len(set(places)) > 1:
        design = np.stack([np.ones_like(places), places / places.max()], axis=1) / values[:, None]  # errors are relative
        own_start, own_slope = np.linalg.lstsq(design, np.ones_like(values), rcond=None)[0]
        if own_start >= 0 and own_slope >= 0:
            return float(own_start + own_slope * at / places.max())
    ratios = values / np.maximum(start + slope * places, 1e-30)
    return believed * float(np.median(ratios))


def predict(
    candidate: Candidate, epochs: int, outcomes: Sequence[Outcome], candidates: Sequence[Candidate], prior: Prior
) -> Predicted:
    """Predict a trial of a candidate by all trials that were measured."""
    by_name = {other.name: other for other in candidates}
    done = [(by_name[outcome.candidate], outcome) for outcome in outcomes if outcome.candidate in by_name]
    measured = [(other, outcome) for other, outcome in done if outcome.is_measured]
    own = next((outcome for other, outcome in measured if other.name == candidate.name), None)
    if own is not None and own.p50_ms is not None:
        p50 = own.p50_ms  # a longer training of the same shape
    else:
        alike = [(other.macs, outcome.p50_ms) for other, outcome in measured if outcome.p50_ms]
        p50 = line(alike, candidate.macs, start=0.0, slope=prior.teacher_ms / prior.teacher_macs / prior.gain)
    p50 = max(LEAST_MS, p50)
    tails = [outcome.p95_ms / outcome.p50_ms for _, outcome in measured if outcome.p95_ms and outcome.p50_ms]
    sizes = [(other.parameters, outcome.size_bytes) for other, outcome in measured if outcome.size_bytes]
    teachers = [outcome.speedup * outcome.p50_ms for _, outcome in measured if outcome.speedup and outcome.p50_ms]
    teacher_ms = statistics.median(teachers) if teachers else prior.teacher_ms
    return Predicted(
        p50_ms=p50,
        p95_ms=p50 * (statistics.median(tails) if tails else 1.2),
        speedup=teacher_ms / p50,
        size_bytes=line(sizes, candidate.parameters, start=0.0, slope=prior.bytes_per_parameter),
        seconds=_seconds(candidate, epochs, [(other, outcome) for other, outcome in done if outcome.seconds], prior),
        drop=_drop(candidate, epochs, measured),
    )


def _seconds(candidate: Candidate, epochs: int, done: Sequence[tuple[Candidate, Outcome]], prior: Prior) -> float:
    # the first trial makes the teacher too, which the cache then has
    points = [(other.work * outcome.epochs, outcome.seconds) for other, outcome in done[1:]]
    return line(points, candidate.work * epochs, start=prior.trial_seconds, slope=prior.seconds_per_mac)


def _drop(candidate: Candidate, epochs: int, measured: Sequence[tuple[Candidate, Outcome]]) -> float | None:
    """By its own short training; else no better than a larger one of the same method was after as many epochs' share."""
    own = [outcome.drop for other, outcome in measured if other.name == candidate.name and outcome.drop is not None]
    if own:
        return own[-1] * drop_left(measured) if own[-1] > 0 else own[-1]
    rung = candidate.rungs.index(epochs)
    larger = [
        outcome.drop
        for other, outcome in measured
        if other.method == candidate.method
        and other.macs >= candidate.macs
        and outcome.drop is not None
        and outcome.epochs == other.rungs[min(rung, len(other.rungs) - 1)]
    ]
    return max(larger, default=None)


def drop_left(measured: Sequence[tuple[Candidate, Outcome]]) -> float:
    """The share of a short training's drop that a whole one still has: the median of what was measured."""
    by_trial = {(candidate.name, outcome.epochs): outcome.drop for candidate, outcome in measured}
    shares = []
    for candidate in {candidate.name: candidate for candidate, _ in measured}.values():
        drops = [by_trial.get((candidate.name, epochs)) for epochs in candidate.rungs]
        if len(drops) == 2 and drops[0] is not None and drops[1] is not None and drops[0] > 0:
            shares.append(min(1.0, max(0.0, drops[1] / drops[0])))
    return statistics.median(shares) if shares else DROP_LEFT
