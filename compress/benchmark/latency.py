"""How fast subjects are: each timed in a fresh process, in turn with the others, round after round."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compress.benchmark.counts import WORKER
from compress.benchmark.subjects import Subject, input_limits, label_count
from compress.errors import CompressError, InputError
from compress.run_errors import SMALLER
from compress.runtimes.external_data import external_files
from compress.runtimes.limits import TIME_LIMIT_SECONDS, check_time_limit
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.table import load_runtime, module_of, settings_of
from compress.statistics import percentile

logger = logging.getLogger(__name__)

WARM_UP = 3  # calls: the first ones pay for allocation and for choosing kernels
SEED = 13
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Grid:
    """What is timed: every combination of `batch`, `length` and `threads`.

    Args:
        batch: Examples in a call.
        length: Tokens of each example, none of them padding.
        threads: Threads that the runtime may use inside an operator.
        device: cpu, cuda or cuda:N.
        rounds: How often each subject gets its turn.
        samples: Calls timed in one turn, for each combination.
        seconds: Stop a turn's combination earlier after this time, but not before three calls; None for no such limit.
        time_limit: Seconds after which a turn is given up.
    """

    batch: tuple[int, ...] = (1,)
    length: tuple[int, ...] = (32,)
    threads: tuple[int, ...] = (1,)
    device: str = "cpu"
    rounds: int = 5
    samples: int = 20
    seconds: float | None = None
    time_limit: float = TIME_LIMIT_SECONDS

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Pairs of batch and length, the batches outermost."""
        return list(itertools.product(self.batch, self.length))


@dataclass(frozen=True)
class Timing:
    """What was found of one subject: rows as in run.json's `latency`, and the most memory that its process held."""

    rows: list[dict[str, Any]]
    peak_memory_bytes: int | None


def check_grid(grid: Grid, subjects: Sequence[Subject]) -> None:
    """Raise InputError when a combination makes no sense or is too long for a subject, or its files are not all in place."""
    for name in ("batch", "length", "threads"):
        values = getattr(grid, name)
        if not values or any(type(value) is not int or value < 1 for value in values):
            raise InputError(f"{name} is {list(values)}; whole numbers from 1 are allowed, at least one: correct the list.")
        if len(set(values)) != len(values):
            raise InputError(f"{name} is {list(values)}; each number may stand there once: remove the others.")
    for name in ("rounds", "samples"):
        if type(getattr(grid, name)) is not int or getattr(grid, name) < 1:
            raise InputError(f"{name} is {getattr(grid, name)!r}; a whole number from 1 is allowed: correct it.")
    if grid.seconds is not None and not grid.seconds > 0:
        raise InputError(f"seconds is {grid.seconds!r}; a number above 0 is allowed: correct it, or leave it out.")
    check_time_limit(grid.time_limit)
    for subject in subjects:
        if subject.file is not None:
            external_files(subject.file)
        label_count(subject)
        longest = input_limits(subject)[1]
        if max(grid.length) > longest:
            raise InputError(
                f"length is {max(grid.length)}, but {subject.name!r} reads at most {longest} tokens; use shorter lengths."
            )
    if max(grid.threads) > (os.cpu_count() or 1):
        logger.warning(
            "%d threads are timed on a machine of %d; use at most that many",
            max(grid.threads),
            os.cpu_count(),
        )


def turns(subjects: Sequence[Subject], rounds: int) -> list[list[Subject]]:
    """The order of the subjects in each round: rotated by one from round to round, so that none is always first."""
    every = list(subjects)
    return [every[round_ % len(every) :] + every[: round_ % len(every)] for round_ in range(rounds)]


def time_subjects(
    subjects: Sequence[Subject], grid: Grid, *, baseline: str, progress: Progress | None = None
) -> dict[str, Timing]:
    """Time subjects against each other.

    Each turn is a process of its own with its threads pinned, since the threads of one runtime slow another down in the
    same process. Percentiles are taken over the samples of all rounds.

    Args:
        subjects: With different names.
        grid: What to time.
        baseline: Name of the subject that `speedup` is against, at the same batch, length, threads and device.
        progress: Told after each turn.

    Returns:
        For each name its Timing.

    Raises:
        InputError: The grid does not fit, or a subject cannot be loaded.
        CompressError: A subject's answers have another shape or are not finite; a process crashed, was killed, took too long
            or answered nonsense.
    """
    check_grid(grid, subjects)
    keys = [(threads, *shape) for threads in grid.threads for shape in grid.shapes]
    samples: dict[str, dict[tuple[int, int, int], list[float]]] = {
        subject.name: {key: [] for key in keys} for subject in subjects
    }
    peaks: dict[str, int | None] = {subject.name: None for subject in subjects}
    work = [(subject, threads) for order in turns(subjects, grid.rounds) for threads in grid.threads for subject in order]
    for done, (subject, threads) in enumerate(work):
        if progress:
            progress(f"time {subject.name}", done, len(work))
        answer = ask_worker(subject, grid, threads)
        for shape, taken in zip(grid.shapes, answer["samples"], strict=True):
            samples[subject.name][(threads, *shape)] += taken
        readings = [peak for peak in (peaks[subject.name], answer["peak_memory_bytes"]) if peak is not None]
        peaks[subject.name] = max(readings, default=None)
    if progress and work:
        progress("time", len(work), len(work))
    middles = {key: percentile(taken, 50) for key, taken in samples[baseline].items()}
    return {
        name: Timing([_row(grid.device, key, taken, middles[key]) for key, taken in series.items()], peaks[name])
        for name, series in samples.items()
    }


def _row(device: str, key: tuple[int, int, int], samples: list[float], baseline_ms: float) -> dict[str, Any]:
    threads, batch, length = key
    middle = percentile(samples, 50)
    return {
        "device": device,
        "batch": batch,
        "length": length,
        "threads": threads,
        "p50_ms": round(middle, 4),
        "p95_ms": round(percentile(samples, 95), 4),
        "examples_per_second": round(batch * 1000 / middle, 2),
        "samples": samples,
        "speedup": round(baseline_ms / middle, 4),
    }


def ask_worker(subject: Subject, grid: Grid, threads: int) -> dict[str, Any]:
    """Let a fresh process time a subject at every shape of the grid, and check what it answers."""
    request = {
        "do": "time",
        "module": module_of(subject.kind),
        "options": settings_of(load_runtime(subject.kind), subject.path),
        "path": str(subject.path.resolve()),
        "device": grid.device,
        "threads": threads,
        "shapes": grid.shapes,
        "vocabulary": input_limits(subject)[0],
        "labels": label_count(subject),
        "warm_up": WARM_UP,
        "samples": grid.samples,
        "seconds": grid.seconds,
        "seed": SEED,
    }
    process = RuntimeProcess(WORKER, threads=threads, time_limit=grid.time_limit)
    try:
        answer, _ = process.ask(
            f"timing {subject.name!r}",
            request,
            cure=f"use fewer samples; {SMALLER}",
            failed=f"{subject.name!r} cannot be timed: ",
        )
    finally:
        process.end()
    if not _is_sane(answer, len(grid.shapes)):
        raise CompressError(f"the process that timed {subject.name!r} answered {str(answer)[:200]}, which are no timings.")
    return answer


def _is_sane(answer: dict[str, Any], shapes: int) -> bool:
    lists = answer.get("samples")
    if not isinstance(lists, list) or len(lists) != shapes:
        return False
    if not isinstance(answer.get("peak_memory_bytes", ""), int | None):
        return False
    return all(isinstance(taken, list) and taken and all(map(is_duration, taken)) for taken in lists)


def is_duration(value: Any) -> bool:
    """Whether a value is a time that something took."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
