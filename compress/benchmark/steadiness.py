"""Whether a machine was as fast from the first round to the last, and whether others used it meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from compress.benchmark.machine import usable_processors
from compress.record import percent, setting_of, setting_words

OTHERS_BUSY = 0.2
"""Processors that others may keep busy before it is said."""
MOVED = 0.1
"""By how much the slowest round may be slower than the fastest, for all subjects together."""
DRIFTED, ONE_WAY, FEWEST_ROUNDS = 0.05, 0.9, 4
"""What rises or falls by so much, with such a rank correlation with the round, in at least so many rounds, drifts."""


@dataclass(frozen=True)
class Reading:
    """What the clocks said at a moment.

    Args:
        wall: Seconds.
        busy: Seconds that the processors which this process may use have worked; None where the system does not tell.
        own: Of these, what this process and those that it has waited for used.
    """

    wall: float
    busy: float | None
    own: float


def reading() -> Reading:
    """Read the clocks."""
    used = os.times()
    own = used.user + used.system + used.children_user + used.children_system
    return Reading(time.perf_counter(), _busy_seconds(), own)


def _busy_seconds() -> float | None:
    """Time stolen by other guests of a machine counts, since it is as lost as what other programs use."""
    if os.name == "nt":  # where the time of processes that have ended is not told
        return None
    try:
        every = psutil.cpu_times(percpu=True)
    except (OSError, RuntimeError, psutil.Error):
        return None
    parts = ("user", "nice", "system", "irq", "softirq", "steal")
    usable = [every[number] for number in usable_processors() if number < len(every)]
    return sum(getattr(times, part, 0.0) for times in usable for part in parts)


def others_busy(before: Reading, after: Reading) -> float | None:
    """How many processors others kept busy between two readings, on average; None where the system does not tell."""
    if before.busy is None or after.busy is None or after.wall <= before.wall:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / (after.wall - before.wall))


def movements(rounds: Sequence[Sequence[float]]) -> np.ndarray:
    """How much slower than on average each round was for all together, (rounds,), as logarithms.

    Args:
        rounds: For each combination of subject and setting the median of each round.
    """
    logarithms = np.log(np.asarray(rounds, dtype=np.float64))  # (combinations, rounds)
    return np.asarray((logarithms - logarithms.mean(1, keepdims=True)).mean(0))


def conditions(rounds: Sequence[Sequence[float]], others: float | None) -> dict[str, Any]:
    """Say how the machine behaved while it was timed.

    Args:
        rounds: For each combination of subject and setting the median of each round.
        others: What `others_busy` says.

    Returns:
        rounds: how many. others_busy: processors. moved: by how much the slowest round was slower than the fastest, a share.
        drift: by how much the last was slower than the first, where it rose or fell from round to round, else None. warnings:
        what of it deserves attention, with what to do.
    """
    slowness = movements(rounds)
    moved, drift = float(np.exp(slowness.max() - slowness.min()) - 1), _drift(slowness)
    warnings = []
    if others is not None and others > OTHERS_BUSY:
        warnings.append(
            f"others kept {others:.1f} of {len(usable_processors())} processors busy while this was timed, which makes "
            "latencies higher and scatter; end them, and time again"
        )
    if drift is not None:
        warnings.append(
            f"the machine became {percent(abs(drift))} {'slower' if drift > 0 else 'faster'} from the first round to the "
            "last; let it come to its working temperature or clock, and time again with more --rounds"
        )
    elif moved > MOVED:
        warnings.append(
            f"the machine's speed moved by {percent(moved)} between rounds (round {int(slowness.argmin()) + 1} was fastest, "
            f"{int(slowness.argmax()) + 1} slowest); speed-ups, which compare within a round, are more certain than latencies"
        )
    return {
        "rounds": len(slowness),
        "others_busy": None if others is None else round(others, 3),
        "moved": round(moved, 4),
        "drift": None if drift is None else round(drift, 4),
        "warnings": warnings,
    }


def _drift(slowness: np.ndarray) -> float | None:
    """The share by which the last round is slower than the first, where rounds rise or fall nearly without exception."""
    if len(slowness) < FEWEST_ROUNDS:
        return None
    change = float(np.exp(slowness[-1] - slowness[0]) - 1)
    ranks = slowness.argsort().argsort()
    one_way = float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])
    return change if abs(change) > DRIFTED and abs(one_way) >= ONE_WAY and change * one_way > 0 else None


def loose(rows: Mapping[str, Sequence[Mapping[str, Any]]], tight: float) -> list[str]:
    """Name what is not known as well as was asked for.

    Args:
        rows: For each subject its rows of latencies.
        tight: Half width of a median's interval that was asked for, a share of the median.
    """
    said = []
    for name, each in rows.items():
        for row in each:
            width, place = half_width(row), f"{name} at {setting_words(setting_of(row))}"
            if width is None:
                said.append(f"{place}: one round tells nothing of how certain its median is; allow more (--most-rounds)")
            elif width > tight:
                said.append(
                    f"{place}: the median is known to {percent(width)} only, {percent(tight)} was asked for; allow more "
                    "rounds (--most-rounds)"
                )
    return said


def half_width(row: Mapping[str, Any]) -> float | None:
    """By what share of the median the upper end of its interval is above it; None where there is no interval."""
    ends = row["p50_ci95_ms"]
    return None if ends is None else float(ends[1] / row["p50_ms"] - 1)
