"""Measure models beside each other: everything that run.json tells about its subjects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.accuracy import invariance, predict, settled
from compress.benchmark.counts import onnx_counts, size_bytes, torch_macs
from compress.benchmark.latency import Grid, Progress, Timing, check_grid, time_subjects
from compress.benchmark.machine import machine, versions
from compress.benchmark.runners import Runner, check_device, open_runner
from compress.benchmark.subjects import CONFIG, ONNX, Subject, input_limits, read_json, subjects_on_disk
from compress.errors import InputError
from compress.facts import read_facts
from compress.labels import check_names
from compress.models.checkpoint.labels import names_in_folder
from compress.runtimes.limits import TIME_LIMIT_SECONDS, check_time_limit
from compress.tasks.unknown import check_known

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

COLUMNS = ("name", "95 % interval", "drop", "MB", "p50 ms", "speed-up")


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Args:
        subjects: The entries of run.json's `subjects`, in the order given.
        confusion: For each name the answers by true (row) and predicted (column) label; None where none is a single label.
        predictions: For each name the answers, (examples, outputs), or a row for each word.
        encoded: For each name the examples as it reads them.
        machine: Where it was measured.
        versions: Of what ran.
    """

    subjects: list[dict[str, Any]]
    confusion: dict[str, list[list[int]] | None]
    predictions: dict[str, np.ndarray]
    encoded: dict[str, Encoded]
    machine: dict[str, Any]
    versions: dict[str, str]

    def __str__(self) -> str:
        """Lay the subjects out as a table, with the latency at the first batch, length and number of threads."""
        columns = (COLUMNS[0], _decides(self.subjects[0]), *COLUMNS[1:])
        rows = [columns, *(_cells(subject) for subject in self.subjects)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
        lines = []
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
        return "\n".join(lines)

    def front(self) -> list[dict[str, Any]]:
        """Rows of {name, accuracy (or the first metric), p50_ms, size_bytes, on_front}, fastest first.

        A subject is on the front when no other is at least as accurate and as fast, and better in one of the two. The
        latency is that of the first batch, length and number of threads.
        """
        metric = _decides(self.subjects[0])
        rows = [
            {
                "name": one["name"],
                metric: one["metrics"][metric],
                "p50_ms": one["latency"][0]["p50_ms"],
                "size_bytes": one["size_bytes"],
            }
            for one in self.subjects
        ]
        for row in rows:
            row["on_front"] = not any(_beats(other, row, metric) for other in rows)
        return sorted(rows, key=lambda row: row["p50_ms"])


def measure(
    subjects: Sequence[Subject | str | Path | PreTrainedModel],
    *,
    task: Task,
    batch: Sequence[int] = (1,),
    length: Sequence[int] = (32,),
    threads: Sequence[int] = (1,),
    device: str = "cpu",
    baseline: str | None = None,
    rounds: int = 5,
    samples: int = 20,
    seconds: float | None = None,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: Progress | None = None,
) -> Measurement:
    """Measure accuracy, latency, memory and size of models beside each other.

    Args:
        subjects: Folders, exports or models in memory (which are saved to a temporary folder).
        task: Its evaluation part gives the examples.
        batch: Examples in a call.
        length: Tokens of each example when timing.
        threads: Threads that the runtime may use inside an operator.
        device: cpu, cuda or cuda:N.
        baseline: Name of the subject that drops and speed-ups are against; the first one if None.
        rounds: How often each subject is timed, in turn with the others.
        samples: Calls timed in one turn, for each combination of batch, length and threads.
        seconds: Stop a turn's combination earlier after this time, but not before three calls.
        time_limit: Seconds after which a file is given up that has not been opened, or answered a batch, or been timed in
            its turn.
        progress: Told how far the measuring is.

    Raises:
        InputError: Something cannot be measured, or the device is not there.
        CompressError: A subject crashed or gave no usable answers.
    """
    wanted = (_numbers("batch", batch), _numbers("length", length), _numbers("threads", threads))
    grid = Grid(*wanted, device, rounds, samples, seconds, time_limit)
    with subjects_on_disk(subjects) as found:
        reference = _baseline(found, baseline)
        check_device(device, {one.kind for one in found})
        check_grid(grid, found)
        answered: dict[str, _Answers] = {}
        for done, one in enumerate(found):
            if progress:
                progress(f"evaluate {one.name}", done, len(found))
            answered[one.name] = _answer(one, task, device, grid.length[0], time_limit)
        timed = time_subjects(found, grid, baseline=reference, progress=progress)
        entries = [_entry(one, task, answered[one.name], answered[reference], timed[one.name]) for one in found]
    return Measurement(
        entries,
        {name: _confusion(one, task) for name, one in answered.items()},
        {name: one.answers for name, one in answered.items()},
        {name: one.encoded for name, one in answered.items()},
        machine(),
        versions(),
    )


def latencies(
    subjects: Sequence[Subject | str | Path | PreTrainedModel],
    *,
    batch: Sequence[int] = (1,),
    length: Sequence[int] = (32,),
    threads: Sequence[int] = (1,),
    device: str = "cpu",
    baseline: str | None = None,
    rounds: int = 5,
    samples: int = 20,
    seconds: float | None = None,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Time models beside each other, without any data; the arguments are those of `measure`.

    Returns:
        Rows of {name, kind, target, device, batch, length, threads, p50_ms, p95_ms, examples_per_second, samples, speedup,
        peak_memory_bytes}, the subjects in the order given.
    """
    wanted = (_numbers("batch", batch), _numbers("length", length), _numbers("threads", threads))
    grid = Grid(*wanted, device, rounds, samples, seconds, time_limit)
    with subjects_on_disk(subjects) as found:
        reference = _baseline(found, baseline)
        check_device(device, {one.kind for one in found})
        timed = time_subjects(found, grid, baseline=reference, progress=progress)
        return [
            {
                "name": one.name,
                "kind": one.kind,
                "target": one.target,
                **row,
                "peak_memory_bytes": timed[one.name].peak_memory_bytes,
            }
            for one in found
            for row in timed[one.name].rows
        ]


def evaluate(
    subject: Subject | str | Path | PreTrainedModel, *, task: Task, device: str = "cpu", time_limit: float = TIME_LIMIT_SECONDS
) -> dict[str, Any]:
    """Measure how right one model is on the task's evaluation part.

    Args:
        subject: A folder, an export or a model in memory.
        task: Its evaluation part gives the examples.
        device: cpu, cuda or cuda:N.
        time_limit: Seconds after which a file is given up that has not been opened, or answered a batch.

    Returns:
        name, kind, target, path, examples, truncated (examples that were cut), max_length (tokens of each that were read),
        unknown_tokens (a fraction of the texts' tokens), labels, metrics, metrics_ci95, confusion (true by predicted) and
        parity.
    """
    check_time_limit(time_limit)
    with subjects_on_disk([subject]) as (one,):
        check_device(device, {one.kind})
        found = _answer(one, task, device, None, time_limit)
        return {
            "name": one.name,
            "kind": one.kind,
            "target": one.target,
            "path": None if one.in_memory else str(one.path),
            "examples": len(task.evaluation),
            "truncated": found.encoded.truncated,
            "max_length": found.max_length,
            "unknown_tokens": round(found.unknown, 6),
            "labels": list(task.labels),
            **task.rules.judge(found.answers, found.encoded.labels, task.metric),
            "confusion": _confusion(found, task),
            "parity": _parity(one, found.flips),
        }


@dataclass(frozen=True)
class _Answers:
    """What opening a subject once tells."""

    answers: np.ndarray
    encoded: Encoded
    max_length: int
    flips: int
    counts: dict[str, int]
    unknown: float
    further: tuple[np.ndarray, Encoded] | None


def _answer(subject: Subject, task: Task, device: str, length: int | None, time_limit: float) -> _Answers:
    with open_runner(subject, device, time_limit=time_limit) as runner:
        return _answer_of(runner, subject, task, length)


def _answer_of(runner: Runner, subject: Subject, task: Task, length: int | None) -> _Answers:
    read = task.within(input_limits(subject)[1])
    split = task.evaluation.require("evaluation")
    unknown = check_known(split, runner.tokenizer, repr(subject.name), allow_unknown=task.allow_unknown)
    encoded = read.encode(split, runner.tokenizer)
    further = None if read.further is None else read.encode(read.further.require("further"), runner.tokenizer)
    answers = predict(runner, encoded)
    evaluated = len(answers)
    if further is not None:
        answers = np.concatenate([answers, predict(runner, further)])
    names = names_in_folder(subject.path, read_json(subject.path / CONFIG), answers.shape[1])
    answers = answers[:, check_names(repr(subject.name), names, task.labels, "use a model of this task.")]
    answers = settled(answers, runner, subject, read)
    counts = {} if length is None else _counts(subject, runner, length)
    flips = invariance(runner, encoded).flips
    return _Answers(
        answers[:evaluated],
        encoded,
        read.max_length,
        flips,
        counts,
        unknown,
        None if further is None else (answers[evaluated:], further),
    )


def _counts(subject: Subject, runner: Runner, length: int) -> dict[str, int]:
    if runner.process is not None:
        return onnx_counts(subject.path / ONNX, length, runner.process)
    assert runner.model is not None
    from compress.models.layout import parameter_count

    return {
        "parameters": parameter_count(runner.model),
        "macs": torch_macs(runner.model, length),
        "integer_ops": 0,
    }


def _entry(subject: Subject, task: Task, found: _Answers, baseline: _Answers, timing: Timing) -> dict[str, Any]:
    stage = read_facts(subject.path).last_accepted_stage
    return {
        "name": subject.name,
        "kind": subject.kind,
        "target": subject.target,
        "path": None if subject.in_memory else str(subject.path),
        "size_bytes": size_bytes(subject),
        "parameters": found.counts["parameters"],
        "macs": found.counts["macs"],
        "truncated": found.encoded.truncated,
        "max_length": found.max_length,
        "unknown_tokens": round(found.unknown, 6),
        **task.rules.judge(found.answers, found.encoded.labels, task.metric),
        **task.rules.compare(baseline.answers, found.answers, found.encoded.labels, task.metric),
        **_further(task, found, baseline),
        "parity": _parity(subject, found.flips),
        "processors": _processors(subject),
        "integer_ops": stage.get("integer_ops", found.counts["integer_ops"]),
        "fused_ops": stage.get("fused_ops", 0),
        "peak_memory_bytes": timing.peak_memory_bytes,
        "latency": timing.rows,
    }


def _further(task: Task, found: _Answers, baseline: _Answers) -> dict[str, Any]:
    """The same scores on the further part, where the task has one."""
    if task.further is None or found.further is None or baseline.further is None:
        return {}
    answers, encoded = found.further
    told = {
        "examples": len(task.further),
        **task.rules.judge(answers, encoded.labels, task.metric),
        **task.rules.compare(baseline.further[0], answers, encoded.labels, task.metric),
    }
    return {"further": told}


def _processors(subject: Subject) -> dict[str, str]:
    """Where an int8 file is right and where it is fast, as it was exported; empty for others."""
    told = read_facts(subject.path).integers
    return {key: told[key] for key in ("safe_on", "fast_on") if key in told}


def _parity(subject: Subject, flips: int) -> dict[str, Any]:
    stage = read_facts(subject.path).last_accepted_stage
    told = {key: stage.get(key) for key in ("max_abs_error", "label_flips")}
    return {**told, "batch_invariance_flips": flips}


def _confusion(found: _Answers, task: Task) -> list[list[int]] | None:
    return task.rules.confusion(found.answers, found.encoded.labels, len(task.labels))


def _decides(subject: dict[str, Any]) -> str:
    """The metric that tables show: a task's first."""
    return next(iter(subject["metrics"]))


def _numbers(name: str, given: Iterable[int]) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{name} is {given!r}; a list of whole numbers is needed, such as [1, 8]: put it into a list.")
    return tuple(given)


def _baseline(subjects: Sequence[Subject], wanted: str | None) -> str:
    names = [one.name for one in subjects]
    if wanted is not None and wanted not in names:
        raise InputError(f"baseline is {wanted!r}; the subjects are {', '.join(names)}. Name one of them.")
    return wanted or names[0]


def _cells(subject: dict[str, Any]) -> tuple[str, ...]:
    metric = _decides(subject)
    low, high = subject["metrics_ci95"][metric]
    first = subject["latency"][0]
    return (
        subject["name"],
        f"{subject['metrics'][metric]:.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{subject['drop']['value']:+.4f}",
        f"{subject['size_bytes'] / 1e6:.1f}",
        f"{first['p50_ms']:.2f}",
        f"{first['speedup']:.2f}x",
    )


def _beats(other: dict[str, Any], row: dict[str, Any], metric: str) -> bool:
    as_good: bool = other[metric] >= row[metric] and other["p50_ms"] <= row["p50_ms"]
    better: bool = other[metric] > row[metric] or other["p50_ms"] < row["p50_ms"]
    return as_good and better
