"""The end of a run: measure what it made, judge it, and leave the record, the report and the card."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.benchmark.gates import judge
from compress.benchmark.machine import machine_key
from compress.benchmark.machine import versions as measured_versions
from compress.benchmark.measurement import Measurement, measure
from compress.benchmark.read_back import check_read_back
from compress.benchmark.subjects import Subject, subject_of
from compress.pipeline.keys import digest, source_digest
from compress.pipeline.run_files import DETAILS, EXPORT, RUN, STEPS, Content, Copy, deliver, step_contents
from compress.pipeline.steps import Execution, StepOutput
from compress.recipe import recipe_text
from compress.recipe.plan import Step
from compress.record import write_whole
from compress.reporting.card import CARD, card_text
from compress.reporting.report import REPORT, render_report
from compress.runtimes.table import RUNTIMES, TRAINED, is_exported, load_runtime
from compress.targets import runtime_of
from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

DIFFERING = 50
"""Examples that the report shows, and lets filter."""


def measure_run(
    execution: Execution, shipped: dict[str, Path], out: Path, record: dict[str, Any], clock: float
) -> dict[str, Any]:
    """Measure the baseline, the last model and every exported file beside each other, and write the run folder's files.

    Args:
        execution: The finished steps.
        shipped: For each target the folder in the cache. It is measured there, and then copied to `out`/export/<target>,
            where each file is compared with what was measured; until then an earlier run's files stay.
        out: The run folder.
        record: The first keys of run.json.
        clock: `time.perf_counter()` at the start of the run.

    Returns:
        The content of run.json.

    Raises:
        CompressError: A file changed meanwhile, or scores by its own names otherwise than was measured.
    """
    measured, details = _measured(execution, shipped)
    subjects = measured["subjects"]
    _set_paths(execution, subjects)
    gates = judge(execution.plan.gates, subjects[-1], subjects)
    record |= {
        "machine": measured["machine"],
        "versions": measured["versions"],
        "steps": execution.records,
        "timing": measured["timing"],
        "subjects": subjects,
        "gates": gates,
        "seconds": round(time.perf_counter() - clock, 1),
    }
    details |= {
        "labels": list(execution.task.labels),
        "curves": {step["name"]: _points(step["curve"]) for step in execution.records if step.get("curve")},
        "recipe_yaml": recipe_text(execution.plan),
        "notes": [*notes(subjects, execution.task.rules.unit), *measured["timing"]["warnings"]],
    }
    for note in details["notes"]:
        logger.warning("%s", note)
    deliver(
        out,
        made_folders(execution, shipped, out)
        | {
            DETAILS: json_text(details),
            REPORT: render_report(record, details),
            CARD: card_text(record),
            RUN: json_text(record),
        },
    )
    return record


def made_folders(execution: Execution, shipped: dict[str, Path], out: Path) -> dict[str, Content]:
    """What lies under export/ and steps/: the files that were measured, and the steps' models."""
    contents: dict[str, Content] = {}
    for target, folder in shipped.items():
        contents |= {
            f"{EXPORT}/{target}/{name}": Copy(folder / name, sha256) for name, sha256 in execution.cache.files(folder).items()
        }
    stops = list(execution.stops.values())[1:]
    steps = {
        folder_name(number, step): stop.folder
        for number, (step, stop) in enumerate(zip(execution.plan.steps, stops, strict=True), 1)
        if stop.folder
    }
    return contents | step_contents(out, steps, execution.cache.files)


def folder_name(number: int, step: Step) -> str:
    """What the folder of a step is called under steps/."""
    return f"{number}-{step.method}"


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is whole or not there."""
    write_whole(path, json_text(content))


def json_text(content: Any) -> str:
    """What a JSON file of ours holds."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def notes(subjects: Sequence[dict[str, Any]], unit: str = "examples") -> list[str]:
    """What deserves attention in the measured numbers, each with what to do.

    unit: what has an answer in the task.
    """
    cut: dict[int, list[str]] = {}
    for subject in subjects:
        cut.setdefault(subject["truncated"] or 0, []).append(subject["name"])
    said = [
        f"texts of the evaluation part that are longer than what {', '.join(names)} may read: {count}, judged by their "
        "beginnings; a larger task.max_length or swap_attention reads more of them, where that is worth its time."
        for count, names in cut.items()
        if count
    ]
    for subject in subjects:
        name = subject["name"]
        is_int8 = "int8" in str(subject["target"])
        if is_int8 and not subject["integer_ops"]:
            said.append(
                f"{name} runs no integer operator: its tables are smaller and nothing is faster; ship a float target where "
                "size does not matter."
            )
        if is_exported(subject["kind"]) and not subject["fused_ops"]:
            said.append(
                f"{name} runs no fused operator; a model without LayerNorm and GELU has none, for any other check the "
                f"version of {load_runtime(subject['kind']).title} with bert-compress doctor."
            )
        slow = [row for row in subject["latency"] if row["speedup"] < 1]
        if is_exported(subject["kind"]) and slow:
            row = min(slow, key=lambda entry: entry["speedup"])
            said.append(
                f"{name} is slower than {subjects[0]['name']} at batch {row['batch']}, length {row['length']}, "
                f"{row['threads']} threads ({row['speedup']:.2f} times its speed); deploy another file for that shape."
            )
        flips = subject["parity"]["batch_invariance_flips"]
        if flips:
            said.append(
                f"{name} gives {flips} {unit} another label when they stand in a padded batch; dynamic int8 scales see the "
                "whole batch. Serve examples one by one where answers must not depend on their neighbours."
            )
    return said


def _measured(execution: Execution, exports: dict[str, Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    stops = list({stop.name: stop for stop in (execution.baseline, execution.last)}.values())
    benchmark = execution.plan.benchmark
    runtimes = sorted({RUNTIMES[name] for name in (TRAINED, *map(runtime_of, exports))})
    key = digest(
        {
            "subjects": [(stop.name, execution.cache.files(stop.made) if stop.made else stop.key) for stop in stops],
            "files": {target: execution.cache.files(folder) for target, folder in exports.items()},
            "data": execution.task.fingerprint,
            "benchmark": replace(benchmark, baseline=execution.baseline.name).__dict__,
            "source": source_digest(
                "compress.benchmark.measurement", "compress.benchmark.worker", "compress.benchmark.read_back", *runtimes
            ),
            "machine": machine_key(),
            "versions": measured_versions(),
        }
    )
    stored = execution.cache.find("measurements", key)
    if stored is None:
        with execution.cache.alone("measurements", key):
            stored = execution.cache.find("measurements", key) or _measure(execution, stops, exports, key)
    facts = execution.cache.facts(stored)
    return facts["found"], facts["details"]


def _measure(execution: Execution, stops: Sequence[StepOutput], exports: dict[str, Path], key: str) -> Path:
    def progress(what: str, done: int, total: int) -> None:
        execution.options.progress(f"measure: {what}", done, total)

    logger.info("measuring starts")
    begun = time.perf_counter()
    given: list[Any] = []
    for stop in stops:
        if stop.made is None:
            stop.model().label = stop.name
        given.append(Subject(stop.name, TRAINED, TRAINED, stop.made) if stop.made else stop.model())
    given += [subject_of(folder, target) for target, folder in exports.items()]
    benchmark = execution.plan.benchmark
    result = measure(
        given,
        task=execution.task,
        batch=benchmark.batch,
        length=benchmark.length,
        threads=benchmark.threads,
        device=benchmark.device,
        baseline=execution.baseline.name,
        rounds=benchmark.rounds,
        seconds=benchmark.seconds,
        tight=benchmark.tight,
        most_rounds=benchmark.most_rounds,
        lengths=benchmark.lengths,
        progress=progress,
    )
    _read_back(execution.task, given[len(stops) :] or given[-1:], result.subjects)
    execution.cache.partial("measurements", key)
    facts = {
        "found": {
            "subjects": result.subjects,
            "machine": result.machine,
            "versions": result.versions,
            "timing": result.conditions,
        },
        "details": {"confusion": result.confusion, "differing": differing(result, execution.task)},
    }
    logger.info("measured in %.1f s", time.perf_counter() - begun)
    return execution.cache.finish("measurements", key, facts)


def _read_back(task: Task, shipped: Sequence[Any], entries: Sequence[dict[str, Any]]) -> None:
    """Open what is shipped as a stranger would, and note in its entry that it scores by its own names what was measured."""
    for subject in shipped:
        if isinstance(subject, Subject):  # a model in memory has no folder to be read
            entry = next(entry for entry in entries if entry["name"] == subject.name)
            entry["read_back"] = check_read_back(subject, task, entry["metrics"], entry["max_length"])


def differing(result: Measurement, task: Task) -> list[dict[str, Any]]:
    """The examples on which the answers of the first and the last subject are farthest apart."""
    names = list(result.predictions)
    if len(names) < 2:
        return []
    first, last = (result.predictions[name] for name in (names[0], names[-1]))
    return task.rules.differing(first, last, task.evaluation, result.encoded[names[-1]], task.labels, DIFFERING)


def _points(curve: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    return [{"step": step, "loss": loss} for step, loss in curve]


def _set_paths(execution: Execution, subjects: Sequence[dict[str, Any]]) -> None:
    """Let every path be relative to the run folder; the model that came in is called as the recipe calls it."""
    folders = {step.name: f"{STEPS}/{folder_name(number, step)}" for number, step in enumerate(execution.plan.steps, 1)}
    for subject in subjects:
        if is_exported(subject["kind"]):
            subject["path"] = f"{EXPORT}/{subject['target']}"
        else:
            subject["path"] = folders.get(subject["name"], execution.plan.model)
