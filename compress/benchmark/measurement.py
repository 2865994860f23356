"""Measure models beside each other: everything that run.json tells about its subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.benchmark.accuracy import invariance, names_of, predict, settled_for
from compress.benchmark.by_length import by_length
from compress.benchmark.counts import onnx_counts, size_bytes, torch_macs
from compress.benchmark.latency import OF_DATA, Grid, Progress, Timing, baseline_among, check_grid, numbers_of, time_subjects
from compress.benchmark.layer_errors import layer_errors
from compress.benchmark.machine import machine, versions
from compress.benchmark.parts import size_by_part
from compress.benchmark.real_texts import Texts, exits_of_subject, texts_of, time_real_texts
from compress.benchmark.runners import Runner, check_device, open_runner
from compress.benchmark.subjects import Subject, input_limits, subjects_on_disk
from compress.errors import InputError
from compress.facts import read_facts
from compress.labels import check_names
from compress.measures import is_better
from compress.runtimes.limits import TIME_LIMIT_SECONDS, check_time_limit
from compress.tasks.per_example import packed
from compress.tasks.reliability import reliability
from compress.tasks.scores import by_label, correct_together
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
        conditions: How the machine behaved while it timed, see `compress.benchmark.steadiness.conditions`.
    """

    subjects: list[dict[str, Any]]
    confusion: dict[str, list[list[int]] | None]
    predictions: dict[str, np.ndarray]
    encoded: dict[str, Encoded]
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: dict[str, Any]

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
                "name": subject["name"],
                metric: subject["metrics"][metric],
                "p50_ms": subject["latency"][0]["p50_ms"],
                "size_bytes": subject["size_bytes"],
            }
            for subject in self.subjects
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
    tight: float | None = None,
    most_rounds: int | None = None,
    lengths: Literal["data"] | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure accuracy, latency, memory and size of models beside each other.

    Args:
        subjects: Folders, exports or models in memory (which are saved to a temporary folder).
        task: Its evaluation part gives the examples, its selection part real ones to time where one lets them leave early.
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
        tight: Go on with further rounds until every median's 95 % interval ends within this share of it.
        most_rounds: Where that ends, tight or not; four times `rounds` if None.
        lengths: "data" times batches of texts as long as those of the evaluation part too.
        progress: Told how far the measuring is.

    Raises:
        InputError: Something cannot be measured, or the device is not there.
        CompressError: A subject crashed or gave no usable answers.
    """
    wanted = (numbers_of("batch", batch), numbers_of("length", length), numbers_of("threads", threads))
    if lengths not in (None, OF_DATA):
        raise InputError(f"lengths is {lengths!r}; {OF_DATA!r} is allowed, or None: name lengths of your own by length.")
    grid = Grid(*wanted, device, rounds, samples, seconds, time_limit, tight, most_rounds)
    with subjects_on_disk(subjects) as stored:
        reference = baseline_among(stored, baseline)
        check_device(device, {subject.kind for subject in stored})
        check_grid(grid, stored)
        answered: dict[str, _Answers] = {}
        leaves = any(exits_of_subject(subject) for subject in stored)
        for done, subject in enumerate(stored):
            if progress:
                progress(f"evaluate {subject.name}", done, len(stored))
            answered[subject.name] = _answer(subject, task, device, grid.length[0], time_limit, reads=leaves)
        if lengths is not None:
            grid = replace(grid, lengths=tuple(answered[reference].encoded.lengths.tolist()))
        timed = time_subjects(stored, grid, baseline=reference, progress=progress)
        texts = {name: measured.texts for name, measured in answered.items()} if leaves else {}
        real = time_real_texts(stored, texts, grid, baseline=reference, progress=progress) if leaves else {}
        entries = [
            _entry(subject, task, answered[subject.name], answered[reference], timed[subject.name])
            | real.get(subject.name, {})
            for subject in stored
        ]
        compared = layer_errors(stored, entries, {name: measured.encoded for name, measured in answered.items()})
    for entry in entries:
        if entry["name"] in compared:
            entry["layer_errors"] = compared[entry["name"]]
    others = [entry for entry in entries if entry["name"] != reference]
    correct_together([entry["drop"] for entry in others])
    correct_together([entry["further"]["drop"] for entry in others if "further" in entry])
    return Measurement(
        entries,
        {name: _confusion(measured, task) for name, measured in answered.items()},
        {name: measured.answers for name, measured in answered.items()},
        {name: measured.encoded for name, measured in answered.items()},
        machine(),
        versions(),
        timed[reference].conditions,
    )


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
        unknown_tokens (a fraction of the texts' tokens), labels, metrics, metrics_ci95, by_label (where the task has labels or
        types of entities), reliability (where outputs are probabilities), confusion (true by predicted) and parity.
    """
    check_time_limit(time_limit)
    with subjects_on_disk([subject]) as (stored,):
        check_device(device, {stored.kind})
        measured = _answer(stored, task, device, None, time_limit)
        return {
            "name": stored.name,
            "kind": stored.kind,
            "target": stored.target,
            "path": None if stored.in_memory else str(stored.path),
            "examples": len(task.evaluation),
            "truncated": measured.encoded.truncated,
            "max_length": measured.max_length,
            "unknown_tokens": round(measured.unknown, 6),
            "labels": list(task.labels),
            **_judged(task, measured.answers, measured.encoded),
            **measured.reliability,
            "confusion": _confusion(measured, task),
            "parity": _parity(stored, measured.flips),
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
    reliability: dict[str, Any]
    texts: Texts


def _answer(
    subject: Subject, task: Task, device: str, length: int | None, time_limit: float, *, reads: bool = False
) -> _Answers:
    with open_runner(subject, device, time_limit=time_limit) as runner:
        return _answer_of(runner, subject, task, length, reads=reads)


def _answer_of(runner: Runner, subject: Subject, task: Task, length: int | None, *, reads: bool) -> _Answers:
    """Everything that an open subject tells; where it `reads`, the real texts to time too."""
    read = task.within(input_limits(subject)[1])
    split = task.evaluation.require("evaluation")
    unknown = check_known(split, runner.tokenizer, repr(subject.name), allow_unknown=task.allow_unknown)
    parts = [split, *([] if read.further is None else [read.further.require("further")])]
    encoded = [read.encode(part, runner.tokenizer) for part in parts]
    answers = [predict(runner, part) for part in encoded]
    if task.rules.head.is_named and not task.rules.head.writes:
        names = names_of(subject, answers[0].shape[1])
        columns = check_names(repr(subject.name), names, task.labels, "use a model of this task.")
        answers = [own[:, columns] for own in answers]
    chosen = settled_for(runner, subject, read)
    confidence = task.rules.confidence(answers[0], encoded[0].labels)
    answers = [task.rules.settled(own, chosen, part.labels) for own, part in zip(answers, encoded, strict=True)]
    counts = {} if length is None else _counts(subject, runner, length)
    flips = invariance(runner, encoded[0]).flips
    texts = texts_of(read.encode(read.selection.require("selection"), runner.tokenizer)) if reads else {}
    return _Answers(
        answers[0],
        encoded[0],
        read.max_length,
        flips,
        counts,
        unknown,
        (answers[1], encoded[1]) if read.further is not None else None,
        {} if confidence is None else {"reliability": reliability(confidence)},
        texts,
    )


def _counts(subject: Subject, runner: Runner, length: int) -> dict[str, int]:
    if runner.process is not None:
        assert subject.file is not None
        return onnx_counts(subject.file, length, runner.process)
    assert runner.model is not None
    from compress.models.layout import parameter_count

    return {
        "parameters": parameter_count(runner.model),
        "macs": torch_macs(runner.model, length),
        "integer_ops": 0,
    }


def _entry(subject: Subject, task: Task, measured: _Answers, baseline: _Answers, timing: Timing) -> dict[str, Any]:
    stage, size = read_facts(subject.path).last_accepted_stage, size_bytes(subject)
    statistics = task.rules.statistics(measured.answers, measured.encoded.labels, task.metric)
    return {
        "name": subject.name,
        "kind": subject.kind,
        "target": subject.target,
        "path": None if subject.in_memory else str(subject.path),
        "size_bytes": size,
        "size_by_part": size_by_part(subject, size),
        "parameters": measured.counts["parameters"],
        "macs": measured.counts["macs"],
        "truncated": measured.encoded.truncated,
        "max_length": measured.max_length,
        "unknown_tokens": round(measured.unknown, 6),
        **_judged(task, measured.answers, measured.encoded),
        "by_length": by_length(baseline.encoded.lengths, statistics, task.rules.score_of(task.metric)),
        **measured.reliability,
        **task.rules.compare(baseline.answers, measured.answers, measured.encoded.labels, task.metric),
        **_further(task, measured, baseline),
        "examples": packed(statistics, task.metric),
        "parity": _parity(subject, measured.flips),
        "processors": _processors(subject),
        "integer_ops": stage.get("integer_ops", measured.counts["integer_ops"]),
        "fused_ops": stage.get("fused_ops", 0),
        "peak_memory_bytes": timing.peak_memory_bytes,
        "cold_start": timing.cold_start,
        "latency": timing.rows,
    }


def _judged(task: Task, answers: np.ndarray, encoded: Encoded) -> dict[str, Any]:
    """Scores with intervals, and those of each class where the task has such."""
    rules, classes = task.rules, task.rules.classes(task.labels)
    scores = rules.judge(answers, encoded.labels, task.metric)
    if not classes:
        return scores
    return {**scores, "by_label": by_label(classes, rules.by_class(answers, encoded.labels, task.labels))}


def _further(task: Task, measured: _Answers, baseline: _Answers) -> dict[str, Any]:
    """The same scores on the further part, where the task has one."""
    if task.further is None or measured.further is None or baseline.further is None:
        return {}
    answers, encoded = measured.further
    scores = {
        "examples": len(task.further),
        **_judged(task, answers, encoded),
        **task.rules.compare(baseline.further[0], answers, encoded.labels, task.metric),
    }
    return {"further": scores}


def _processors(subject: Subject) -> dict[str, str]:
    """Where an int8 file is right and where it is fast, as it was exported; empty for others."""
    integers = read_facts(subject.path).integers
    return {key: integers[key] for key in ("safe_on", "fast_on") if key in integers}


def _parity(subject: Subject, flips: int) -> dict[str, Any]:
    stage = read_facts(subject.path).last_accepted_stage
    checks = {key: stage.get(key) for key in ("max_abs_error", "label_flips")}
    return {**checks, "batch_invariance_flips": flips}


def _confusion(measured: _Answers, task: Task) -> list[list[int]] | None:
    return task.rules.confusion(measured.answers, measured.encoded.labels, len(task.labels))


def _decides(subject: dict[str, Any]) -> str:
    """The metric that tables show: a task's first."""
    return next(iter(subject["metrics"]))


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
    as_good: bool = not is_better(metric, row[metric], other[metric]) and other["p50_ms"] <= row["p50_ms"]
    better: bool = is_better(metric, other[metric], row[metric]) or other["p50_ms"] < row["p50_ms"]
    return as_good and better
