"""How fast subjects are: each timed in a fresh process, in turn with the others, round after round."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.benchmark.counts import WORKER
from compress.benchmark.steadiness import conditions, loose, others_busy, reading
from compress.benchmark.subjects import Subject, input_limits, label_count
from compress.errors import CompressError, InputError
from compress.run_errors import SMALLER
from compress.runtimes.external_data import external_files
from compress.runtimes.limits import TIME_LIMIT_SECONDS, check_time_limit
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.table import load_runtime, module_of, settings_of
from compress.statistics import percentile, spread_of_means

logger = logging.getLogger(__name__)

OF_DATA = "data"
"""The length of rows whose batches have lengths as texts have."""
DRAWN = 20
"""Batches of such lengths, that are timed in turn."""
STARTS = ("load_ms", "first_answer_ms", "total_ms")
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
        tight: Go on with further rounds until every median's 95 % interval ends within this share of it; None for `rounds`.
        most_rounds: Where that ends, tight or not; four times `rounds` if None.
        lengths: Tokens of texts, where batches of such lengths are timed too, drawn with replacement; each is padded to its
            longest, and a call's row has the length "data".
    """

    batch: tuple[int, ...] = (1,)
    length: tuple[int, ...] = (32,)
    threads: tuple[int, ...] = (1,)
    device: str = "cpu"
    rounds: int = 5
    samples: int = 20
    seconds: float | None = None
    time_limit: float = TIME_LIMIT_SECONDS
    tight: float | None = None
    most_rounds: int | None = None
    lengths: tuple[int, ...] = ()

    @property
    def shapes(self) -> list[tuple[int, int | str]]:
        """Pairs of batch and length, the batches outermost."""
        return list(itertools.product(self.batch, [*self.length, *([OF_DATA] if self.lengths else [])]))

    @property
    def last_round(self) -> int:
        """How many rounds there are at most."""
        return self.rounds if self.tight is None else max(self.rounds, self.most_rounds or 4 * self.rounds)

    def drawn(self, batch: int, longest: int) -> list[list[int]]:
        """Draw the lengths of DRAWN batches, the same each time; none is longer than `longest`."""
        random = np.random.default_rng((SEED, batch))
        lengths = random.choice(np.minimum(self.lengths, longest), (DRAWN, batch))
        drawn: list[list[int]] = lengths.tolist()
        return drawn


@dataclass(frozen=True)
class Timing:
    """What was found of one subject.

    Args:
        rows: As in run.json's `latency`.
        peak_memory_bytes: The most memory that its process held.
        cold_start: As in run.json, medians over its processes.
        conditions: Of all subjects: how the machine behaved meanwhile, see `compress.benchmark.steadiness.conditions`.
    """

    rows: list[dict[str, Any]]
    peak_memory_bytes: int | None
    cold_start: dict[str, float]
    conditions: dict[str, Any]


def numbers_of(name: str, given: Iterable[int]) -> tuple[int, ...]:
    """Take a list of numbers, whose values `check_grid` looks at.

    Raises:
        InputError: It is no list.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{name} is {given!r}; a list of whole numbers is needed, such as [1, 8]: put it into a list.")
    return tuple(given)


def baseline_among(subjects: Sequence[Subject], wanted: str | None) -> str:
    """The name of the subject that others are compared with: the one that is wanted, else the first.

    Raises:
        InputError: There is none of that name.
    """
    names = [subject.name for subject in subjects]
    if wanted is not None and wanted not in names:
        raise InputError(f"baseline is {wanted!r}; the subjects are {', '.join(names)}. Name one of them.")
    return wanted or names[0]


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
    if grid.tight is not None and not 0 < grid.tight < 1:
        raise InputError(f"tight is {grid.tight!r}; a share of the median above 0 and below 1 is allowed, such as 0.02.")
    if grid.most_rounds is not None and (type(grid.most_rounds) is not int or grid.most_rounds < grid.rounds):
        raise InputError(f"most_rounds is {grid.most_rounds!r}; a whole number from {grid.rounds}, the rounds, is allowed.")
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
    same process. Percentiles are taken over the samples of all rounds. A median's interval, and that of a speed-up, is by how
    the rounds scatter, which says more than single calls, since a machine changes more slowly than calls follow another.

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
    turns_taken: dict[str, list[dict[int, dict[str, Any]]]] = {subject.name: [] for subject in subjects}
    before, total = reading(), len(subjects) * len(grid.threads)
    for number, order in enumerate(turns(subjects, grid.last_round)):
        answers: dict[str, dict[int, dict[str, Any]]] = {subject.name: {} for subject in order}
        for place, (threads, subject) in enumerate(itertools.product(grid.threads, order)):
            if progress:
                progress(f"time {subject.name}", number * total + place, max(grid.rounds, number + 1) * total)
            answers[subject.name][threads] = ask_worker(subject, grid, threads)
        for name, by_threads in answers.items():
            turns_taken[name].append(by_threads)
        if number + 1 >= grid.rounds and (grid.tight is None or _are_tight(turns_taken, grid)):
            break
    rounds = len(turns_taken[baseline])
    if progress and total:
        progress("time", rounds * total, rounds * total)
    samples = {name: samples_of(taken, grid) for name, taken in turns_taken.items()}
    rows = {
        name: [
            row_of(grid, key, taken, samples[baseline][key], _energy(turns_taken[name], grid, key))
            for key, taken in of.items()
        ]
        for name, of in samples.items()
    }
    medians = [[percentile(taken, 50) for taken in of_rounds] for of in samples.values() for of_rounds in of.values()]
    noticed = conditions(medians, others_busy(before, reading()))
    if grid.tight is not None:
        noticed["warnings"] += loose(rows, grid.tight)
    return {name: Timing(rows[name], _peak(taken), _cold_start(taken), noticed) for name, taken in turns_taken.items()}


Key = tuple[int, int, int | str]
"""Threads, batch and length."""
Turns = Sequence[Mapping[int, Mapping[str, Any]]]
"""For each round, and each number of threads, what a subject's process answered."""


def samples_of(turns_taken: Turns, grid: Grid) -> dict[Key, list[list[float]]]:
    """The samples of each setting, a list for each round."""
    return {
        (threads, *shape): [answers[threads]["samples"][place] for answers in turns_taken]
        for threads in grid.threads
        for place, shape in enumerate(grid.shapes)
    }


def _are_tight(turns_taken: Mapping[str, Turns], grid: Grid) -> bool:
    assert grid.tight is not None
    every = [of_rounds for taken in turns_taken.values() for of_rounds in samples_of(taken, grid).values()]
    spreads = [spread_of_means(_logarithms(of_rounds)) for of_rounds in every]
    return all(spread is not None and np.expm1(spread) <= grid.tight for spread in spreads)


def _logarithms(of_rounds: Sequence[Sequence[float]]) -> np.ndarray:
    """Of each round's median."""
    return np.log([percentile(taken, 50) for taken in of_rounds])


def _energy(turns_taken: Turns, grid: Grid, key: Key) -> float | None:
    """Joules of one example, the mean over rounds; None where a round has none."""
    threads, *shape = key
    place = grid.shapes.index((shape[0], shape[1]))  # type: ignore[arg-type]
    used = [(answers[threads].get("energy") or {place: None})[place] for answers in turns_taken]
    return None if None in used else float(np.mean(used)) / key[1]


def _peak(turns_taken: Turns) -> int | None:
    peaks = [answer["peak_memory_bytes"] for answers in turns_taken for answer in answers.values()]
    return max((peak for peak in peaks if peak is not None), default=None)


def _cold_start(turns_taken: Turns) -> dict[str, float]:
    starts = [answer["start"] for answers in turns_taken for answer in answers.values() if answer.get("start")]
    return {key: round(percentile([start[key] for start in starts], 50), 3) for key in (STARTS if starts else ())}


def row_of(
    grid: Grid, key: Key, of_rounds: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]], joules: float | None
) -> dict[str, Any]:
    """A row of run.json's `latency`.

    Args:
        grid: What was timed.
        key: Threads, batch and length.
        of_rounds: The samples, a list for each round.
        baseline: The baseline's samples at the same setting, timed in the same rounds.
        joules: Of one example, if they were counted.
    """
    threads, batch, length = key
    samples, own = [sample for taken in of_rounds for sample in taken], _logarithms(of_rounds)
    middle, other = percentile(samples, 50), percentile([sample for taken in baseline for sample in taken], 50)
    per_call = float(np.mean(samples)) if length == OF_DATA else middle
    row = {
        "device": grid.device,
        "batch": batch,
        "length": length,
        "threads": threads,
        "p50_ms": round(middle, 4),
        "p50_ci95_ms": _around(middle, spread_of_means(own)),
        "p95_ms": round(percentile(samples, 95), 4),
        "examples_per_second": round(batch * 1000 / per_call, 2),
        "samples": samples,
        "rounds_p50_ms": [round(float(np.exp(logarithm)), 4) for logarithm in own],
        "speedup": round(other / middle, 4),
        "speedup_ci95": _around(other / middle, spread_of_means(_logarithms(baseline) - own)),
    }
    if length == OF_DATA:
        row["tokens"] = {"mean": round(float(np.mean(grid.lengths)), 1), "p95": percentile(grid.lengths, 95)}
    return row if joules is None else row | {"joules_per_example": joules}


def _around(middle: float, spread: float | None) -> list[float] | None:
    return None if spread is None else [round(float(middle * np.exp(end)), 4) for end in (-spread, spread)]


def ask_worker(subject: Subject, grid: Grid, threads: int) -> dict[str, Any]:
    """Let a fresh process time a subject at every shape of the grid, and check what it answers."""
    vocabulary, longest = input_limits(subject)
    request = {
        "do": "time",
        "module": module_of(subject.kind),
        "options": settings_of(load_runtime(subject.kind), subject.facts()),
        "path": str(subject.path.resolve()),
        "device": grid.device,
        "threads": threads,
        "shapes": [(batch, grid.drawn(batch, longest) if length == OF_DATA else length) for batch, length in grid.shapes],
        "vocabulary": vocabulary,
        "labels": label_count(subject),
        "warm_up": WARM_UP,
        "samples": grid.samples,
        "seconds": grid.seconds,
        "seed": SEED,
        "spawned": time.time(),
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
    start = answer.get("start", {})
    energy = answer.get("energy", [None] * shapes)
    if not isinstance(start, dict) or not all(is_duration(start[key]) for key in start) or set(start) - set(STARTS):
        return False
    if not isinstance(energy, list) or len(energy) != shapes or not all(used is None or _is_number(used) for used in energy):
        return False
    return all(isinstance(taken, list) and taken and all(map(is_duration, taken)) for taken in lists)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def is_duration(value: Any) -> bool:
    """Whether a value is a time that something took."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
