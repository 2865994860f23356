"""The report's rows below the front: gates, steps, confusion matrices, differing examples, the machine."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from typing import Any

from compress import record
from compress.record import MISSING, finite, part

MOST_LABELS = 16  # a larger matrix is no picture any more; its largest confusions are listed instead
MOST_CONFUSIONS = 15
MOST_CLASSES = 40
MOST_LISTED = 40  # of a list among the facts, such as the labels


def gate_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gates with limit and value in the unit that their name tells."""
    rows = []
    for gate in run.get("gates") or []:
        name = record.name_of(gate)
        rows.append(
            {
                "name": name,
                "subject": str(gate.get("subject") or ""),
                "limit": _gate_value(name, gate.get("limit")),
                "value": _gate_value(name, gate.get("value")),
                "bound": "at least" if name.startswith("min") else "at most",
                "passed": bool(gate.get("passed")),
            }
        )
    return rows


def _gate_value(name: str, value: Any) -> str:
    if name.endswith("_ms"):
        return record.milliseconds(value)
    if name.endswith("_bytes"):
        return record.megabytes(value)
    if "speedup" in name:
        return record.times(value)
    if "drop" in name:
        return f"{record.number(value * 100, 2)} points" if finite(value) is not None else MISSING
    return record.percent(value)


def step_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps with time, status and effect; `share` is the part of the longest step's time, 0 to 1."""
    steps = [dict(step) for step in run.get("steps") or []]
    longest = max((finite(step.get("seconds")) or 0.0 for step in steps), default=0.0)
    return [_step_row(step, longest) for step in steps]


def _step_row(step: Mapping[str, Any], longest: float) -> dict[str, Any]:
    before, after = (record.count(step.get(key)) for key in ("parameters_before", "parameters"))
    changed = step.get("parameters_before") != step.get("parameters")
    seconds = finite(step.get("seconds")) or 0.0
    metrics = [f"{name} {record.score(name, value)}" for name, value in part(step, "metrics").items()]
    return {
        "name": record.name_of(step),
        "method": str(step.get("method") or MISSING),
        "arguments": ", ".join(f"{key}: {_brief(value)}" for key, value in part(step, "arguments").items()),
        "status": str(step.get("status") or MISSING),
        "why": str(step.get("why") or ""),
        "seconds": record.duration(step.get("seconds")),
        "share": round(seconds / longest, 4) if longest else 0.0,
        "parameters": f"{before} \u2192 {after}" if changed else after,
        "metrics": ", ".join(metrics) or MISSING,
        "pace": record.number(step.get("examples_per_second"), 0),
        "memory": record.megabytes(step.get("peak_memory_bytes")),
        "shares": _shares(step.get("layer_mix")),
    }


def _shares(mix: Any) -> str:
    """What a head reads of the embeddings and of each layer, where a step mixed them."""
    shares = [finite(share) for share in mix] if isinstance(mix, list) else []
    if not shares or any(share is None for share in shares):
        return ""
    names = ["embeddings", *(f"layer {number}" for number in range(1, len(shares)))]
    return ", ".join(f"{name} {record.percent(share)}" for name, share in zip(names, shares, strict=True))


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def score_table(run: Mapping[str, Any]) -> dict[str, Any]:
    """The scores beside the one that decides, of each subject; empty where there are none."""
    subjects, metric = record.subjects_of(run), record.metric_of(run)
    names = [*dict.fromkeys(name for subject in subjects for name in part(subject, "metrics") if name != metric)]
    rows = [
        {
            "name": record.name_of(subject),
            "kind": subject.get("kind"),
            "cells": [_score(subject, name) for name in names],
        }
        for subject in subjects
    ]
    return {"names": [name.replace("_", " ") for name in names], "rows": rows} if names else {}


def _score(subject: Mapping[str, Any], name: str) -> str:
    ends = record.interval(part(subject, "metrics_ci95").get(name))
    between = f" ({record.between(name, ends)})" if ends else ""
    return f"{record.score(name, part(subject, 'metrics').get(name))}{between}"


def label_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each class' own scores, of the baseline and of what is shipped; of many classes those of which most is lost."""
    subjects = [subject for subject in record.subjects_of(run) if part(subject, "by_label")]
    if not subjects:
        return []
    before, after = (part(subject, "by_label") for subject in (subjects[0], subjects[-1]))
    names = list(after)
    if len(names) > MOST_CLASSES:
        lost = {
            name: (finite(part(before, name).get("f1")) or 0) - (finite(part(after, name).get("f1")) or 0) for name in names
        }
        names = heapq.nlargest(MOST_CLASSES, names, key=lost.__getitem__)
    return [_label_row(name, part(before, name), part(after, name)) for name in names]


def _label_row(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    ends = record.interval(part(after, "ci95").get("recall"))
    return {
        "name": name,
        "support": record.number(after.get("support"), 0),
        "cells": [record.percent(scores.get(key)) for key in ("recall", "precision", "f1") for scores in (before, after)],
        "interval": f"{record.points(ends[0])} to {record.points(ends[1])}" if ends else MISSING,
    }


def _labels(run: Mapping[str, Any], extras: Mapping[str, Any]) -> list[str]:
    """The names of the labels in the order of their ids: those of the extras, else those of the run's data."""
    return [str(label) for label in extras.get("labels") or part(run, "data").get("labels") or []]


def confusion_tables(run: Mapping[str, Any], extras: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A matrix for each subject, true labels down and answers across; many labels give a list of confusions.

    A cell's `share` is its part of the row: how often that true label gets that answer.
    """
    matrices, labels = part(extras, "confusion"), _labels(run, extras)
    order = [record.name_of(subject) for subject in record.subjects_of(run)]
    names = [name for name in order if name in matrices] + [name for name in matrices if name not in order]
    return [_confusion(name, matrices[name], labels) for name in names if matrices[name]]


def _confusion(name: str, matrix: Sequence[Sequence[int]], labels: Sequence[Any]) -> dict[str, Any]:
    named = [_label(index, labels) for index in range(len(matrix))]
    sums = [sum(row) for row in matrix]
    is_large = len(matrix) > MOST_LABELS
    wrong = (
        (int(value), named[true], _label(said, labels))
        for true, row in enumerate(matrix)
        for said, value in enumerate(row)
        if said != true and value
    )
    return {
        "name": name,
        "labels": named,
        "rows": []
        if is_large
        else [
            {
                "label": named[true],
                "cells": [
                    {
                        "count": f"{int(value):,}",
                        "share": round(value / sums[true], 3) if sums[true] else 0.0,
                        "is_right": said == true,
                    }
                    for said, value in enumerate(row)
                ],
            }
            for true, row in enumerate(matrix)
        ],
        "worst": heapq.nlargest(MOST_CONFUSIONS, wrong, key=lambda row: row[0]) if is_large else [],
        "is_large": is_large,
    }


def _label(index: int | None, labels: Sequence[Any]) -> str:
    if index is None:
        return MISSING
    return str(labels[index]) if 0 <= index < len(labels) else f"label {index}"


def example_rows(run: Mapping[str, Any], extras: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The examples on which teacher and student differ most, each with both answers."""
    labels = _labels(run, extras)
    rows = []
    for example in extras.get("differing") or []:
        true = _true_index(example.get("label"), labels)
        rows.append(
            {
                "text": str(example.get("text") or ""),
                "pair": str(example["pair"]) if example.get("pair") else "",
                "label": _label(true, labels) if true is not None else str(example.get("label") or MISSING),
                "marked": _marked(str(example.get("text") or ""), example.get("spans") or {}),
                "answers": [{"who": who, **_answer(example.get(who), true, labels)} for who in ("teacher", "student")],
            }
        )
    return rows


def _marked(text: str, spans: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The text once for what is true and once for each answer, in parts: plain ones, and those that are entities."""
    rows = []
    for who, key in (("true", "label"), ("teacher", "teacher"), ("student", "student")):
        parts, at = [], 0
        for start, end, kind, verdict in spans.get(key) or []:
            parts += [{"text": text[at:start], "kind": "", "verdict": ""}] if start > at else []
            parts.append({"text": text[start:end], "kind": str(kind), "verdict": "" if who == "true" else str(verdict)})
            at = end
        parts += [{"text": text[at:], "kind": "", "verdict": ""}] if at < len(text) else []
        rows.append({"who": who, "parts": parts})
    return rows if spans else []


def _true_index(label: Any, labels: Sequence[Any]) -> int | None:
    if isinstance(label, str):
        return list(map(str, labels)).index(label) if label in map(str, labels) else None
    index = finite(label)
    return None if index is None else int(index)


def _answer(probabilities: Any, true: int | None, labels: Sequence[Any]) -> dict[str, Any]:
    if isinstance(probabilities, str):
        return {"label": probabilities, "percent": "", "share": 0.0, "verdict": ""}
    shares = [finite(value) or 0.0 for value in probabilities or []]
    if not shares:
        return {"label": MISSING, "percent": "", "share": 0.0, "verdict": ""}
    said = max(range(len(shares)), key=shares.__getitem__)
    return {
        "label": _label(said, labels),
        "percent": record.percent(shares[said], 0),
        "share": round(min(max(shares[said], 0.0), 1.0), 3),
        "verdict": "" if true is None else "right" if said == true else "wrong",
    }


def facts_of(run: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The run, its data, the machine and the versions, as pairs of name and text."""
    machine, data = part(run, "machine"), part(run, "data")
    flags = machine.get("flags")
    groups = {
        "Run": [
            ("started", run.get("started")),
            ("took", record.duration(run.get("seconds"))),
            ("toolkit commit", run.get("commit")),
            ("seed", part(run, "recipe").get("seed")),
            ("model", part(run, "recipe").get("model")),
        ],
        "Data": _data_facts(data),
        "Machine": [
            ("processor", machine.get("cpu")),
            ("cores", machine.get("cores")),
            ("threads", machine.get("threads")),
            ("instruction sets", ", ".join(map(str, flags)) if isinstance(flags, list | tuple) else flags),
            ("GPU", machine.get("gpu") or "none"),
            ("memory", record.megabytes(machine.get("memory_bytes"))),
            ("system", machine.get("os")),
            *(
                (key.replace("_", " "), value)
                for key, value in machine.items()
                if key not in ("cpu", "cores", "threads", "flags", "gpu", "memory_bytes", "os")
            ),
        ]
        if machine
        else [],
        "Versions": sorted(part(run, "versions").items()),
    }
    return {
        title: [(name, _fact(value)) for name, value in rows if value not in (None, "", MISSING)]
        for title, rows in groups.items()
    }


def _data_facts(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the data is: a line for each part of it, with its examples by label."""
    facts = [(key.replace("_", " "), value) for key, value in data.items() if key != "splits" and value not in ({}, [])]
    labels = [str(label) for label in data.get("labels") or []]
    for role, split in part(data, "splits").items():
        if not isinstance(split, Mapping):
            continue
        counts = split.get("per_label") or []
        by_label = ", ".join(f"{_label(index, labels)} {record.number(count, 0)}" for index, count in enumerate(counts))
        words = record.number(split.get("mean_words"), 1)
        facts.append(
            (
                role,
                f"{record.number(split.get('examples'), 0)} examples"
                + (f" ({by_label})" if 0 < len(counts) <= MOST_LABELS else "")
                + (f", {words} words on average" if words != MISSING else ""),
            )
        )
    return facts


def _fact(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(entry, str | int) for entry in value):
        more = [f"and {len(value) - MOST_LISTED:,} more"] if len(value) > MOST_LISTED else []
        return ", ".join([*map(str, value[:MOST_LISTED]), *more])
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(entry)}" for key, entry in value.items())
    return str(value)
