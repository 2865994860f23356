"""The end of a run: measure what it made, judge it, and leave the record, the report and the card."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.artifact.card import write_card
from compress.measure.gates import judge
from compress.measure.machine import machine_key
from compress.measure.machine import versions as measured_versions
from compress.measure.measurement import Measurement, measure
from compress.measure.report import write_report
from compress.measure.subjects import Subject, subject_of
from compress.pipeline.cache import FACTS
from compress.pipeline.keys import digest, source_digest
from compress.pipeline.steps import Stop, Walk
from compress.recipe import recipe_text
from compress.record import write_whole
from compress.tasks.text_classification import Task

logger = logging.getLogger(__name__)

RUN, DETAILS = "run.json", "details.json"
DIFFERING = 10
SHOWN_LETTERS = 600


def measure_run(walk: Walk, shipped: dict[str, Path], out: Path, record: dict[str, Any], clock: float) -> dict[str, Any]:
    """Measure the baseline, the last model and every exported file beside each other, and write the run folder's files.

    Args:
        walk: The finished steps.
        shipped: For each target the folder in the cache; it is copied to `out`/export/<target>.
        out: The run folder.
        record: The first keys of run.json.
        clock: `time.perf_counter()` at the start of the run.

    Returns:
        The content of run.json.
    """
    exports = {target: _copied(folder, out / "export" / target) for target, folder in shipped.items()}
    _remove_others(out / "export", set(shipped))
    found, details = _measured(walk, exports, {target: folder.name for target, folder in shipped.items()})
    subjects = found["subjects"]
    _set_paths(walk, subjects)
    gates = judge(walk.plan.gates, subjects[-1], subjects)
    record |= {
        "machine": found["machine"], "versions": found["versions"], "steps": walk.records, "subjects": subjects,
        "gates": gates, "seconds": round(time.perf_counter() - clock, 1),
    }  # fmt: skip
    details |= {
        "labels": list(walk.task.labels),
        "curves": {step["name"]: _points(step["curve"]) for step in walk.records if step.get("curve")},
        "recipe_yaml": recipe_text(walk.plan),
        "notes": notes(subjects),
    }
    for note in details["notes"]:
        logger.warning("%s", note)
    write_json(out / DETAILS, details)
    write_report(record, out, details)
    write_card(record, out)
    write_json(out / RUN, record)
    return record


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is whole or not there."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def notes(subjects: Sequence[dict[str, Any]]) -> list[str]:
    """What deserves attention in the measured numbers, each with what to do."""
    cut: dict[int, list[str]] = {}
    for subject in subjects:
        cut.setdefault(subject["truncated"] or 0, []).append(subject["name"])
    said = [
        f"texts of the evaluation part that are longer than what {', '.join(names)} may read: {count}, judged by their "
        "beginnings; a larger task.max_length or swap_attention reads more of them, where that is worth its time."
        for count, names in cut.items() if count
    ]
    for subject in subjects:
        name = subject["name"]
        is_int8 = "int8" in str(subject["target"])
        if is_int8 and not subject["integer_ops"]:
            said.append(
                f"{name} runs no integer operator: its tables are smaller and nothing is faster; ship a float target where "
                "size does not matter."
            )
        if subject["kind"] != "torch" and not subject["fused_ops"]:
            said.append(
                f"{name} runs no fused operator; a model without LayerNorm and GELU has none, for any other check the "
                "version of onnxruntime with bert-compress doctor."
            )
        slow = [row for row in subject["latency"] if row["speedup"] < 1]
        if subject["kind"] != "torch" and slow:
            row = min(slow, key=lambda one: one["speedup"])
            said.append(
                f"{name} is slower than {subjects[0]['name']} at batch {row['batch']}, length {row['length']}, "
                f"{row['threads']} threads ({row['speedup']:.2f} times its speed); deploy another file for that shape."
            )
        flips = subject["parity"]["batch_invariance_flips"]
        if flips:
            said.append(
                f"{name} gives {flips} examples another label when they stand in a padded batch; dynamic int8 scales see the "
                "whole batch. Serve examples one by one where answers must not depend on their neighbours."
            )
    return said


def _measured(walk: Walk, exports: dict[str, Path], keys: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    stops = list({stop.name: stop for stop in (walk.baseline, walk.last)}.values())
    benchmark = walk.plan.benchmark
    key = digest({
        "subjects": [(stop.name, stop.key) for stop in stops] + sorted(keys.items()),
        "data": walk.task.fingerprint,
        "benchmark": replace(benchmark, baseline=walk.baseline.name).__dict__,
        "source": source_digest("compress.measure.measurement", "compress.measure.worker"),
        "machine": machine_key(),
        "versions": measured_versions(),
    })  # fmt: skip
    found = walk.cache.find("measurements", key)
    if found is None:
        with walk.cache.alone("measurements", key):
            found = walk.cache.find("measurements", key) or _measure(walk, stops, exports, key)
    facts = walk.cache.facts(found)
    return facts["found"], facts["details"]


def _measure(walk: Walk, stops: Sequence[Stop], exports: dict[str, Path], key: str) -> Path:
    def progress(what: str, done: int, total: int) -> None:
        walk.progress(f"measure: {what}", done, total)

    logger.info("measuring starts")
    begun = time.perf_counter()
    given: list[Any] = []
    for stop in stops:
        if stop.folder is None:
            stop.model().label = stop.name
        given.append(Subject(stop.name, "torch", "torch", stop.folder) if stop.folder else stop.model())
    given += [subject_of(folder, target) for target, folder in exports.items()]
    benchmark = walk.plan.benchmark
    result = measure(
        given, task=walk.task, batch=benchmark.batch, length=benchmark.length, threads=benchmark.threads,
        device=benchmark.device, baseline=walk.baseline.name, rounds=benchmark.rounds, seconds=benchmark.seconds,
        progress=progress,
    )  # fmt: skip
    walk.cache.partial("measurements", key)
    facts = {
        "found": {"subjects": result.subjects, "machine": result.machine, "versions": result.versions},
        "details": {"confusion": result.confusion, "differing": differing(result, walk.task)},
    }
    logger.info("measured in %.1f s", time.perf_counter() - begun)
    return walk.cache.finish("measurements", key, facts)


def differing(result: Measurement, task: Task) -> list[dict[str, Any]]:
    """The examples on which the probabilities of the first and the last subject are farthest apart."""
    names = list(result.predictions)
    if len(names) < 2:
        return []
    told, found = (_probabilities(result.predictions[name]) for name in (names[0], names[-1]))
    apart = np.abs(told - found).sum(axis=1) / 2
    split = task.evaluation
    return [
        {
            "text": split.texts[index][:SHOWN_LETTERS],
            "pair": split.pairs[index][:SHOWN_LETTERS] if split.pairs else None,
            "label": task.labels[split.labels[index]],
            "teacher": [round(float(value), 4) for value in told[index]],
            "student": [round(float(value), 4) for value in found[index]],
        }
        for index in np.argsort(-apart, kind="stable")[:DIFFERING]
    ]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _points(curve: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    return [{"step": step, "loss": loss} for step, loss in curve]


def _set_paths(walk: Walk, subjects: Sequence[dict[str, Any]]) -> None:
    """Let every path be relative to the run folder; the model that came in is called as the recipe calls it."""
    folders = {step.name: f"steps/{number}-{step.method}" for number, step in enumerate(walk.plan.steps, 1)}
    for subject in subjects:
        if subject["kind"] == "torch":
            subject["path"] = folders.get(subject["name"], walk.plan.model)
        else:
            subject["path"] = f"export/{subject['target']}"


def _copied(source: Path, folder: Path) -> Path:
    """Bring an export into the run folder, whole, in the place of an earlier one."""
    partial = folder.with_name(f"{folder.name}.partial.{os.getpid()}")
    try:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(FACTS))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _remove_others(folder: Path, kept: set[str]) -> None:
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_dir() and entry.name not in kept:
                shutil.rmtree(entry)


