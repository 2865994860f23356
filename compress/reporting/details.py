"""The report's rows below the front: gates, scores beside the one that decides, confusion matrices, the machine."""

from __future__ import annotations

import heapq
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


def length_table(run: Mapping[str, Any]) -> dict[str, Any]:
    """The deciding score by the length of texts, of each subject; empty where it was not told."""
    metric = record.metric_of(run)
    parted = [(subject, subject["by_length"]) for subject in record.subjects_of(run) if subject.get("by_length")]
    spans = {(row.get("from"), row.get("to")): row.get("examples") for _, rows in parted for row in rows}
    order = sorted(span for span in spans if None not in span)
    rows = [
        {
            "name": record.name_of(subject),
            "cells": [
                record.score(metric, next((row.get("score") for row in own if (row.get("from"), row.get("to")) == span), None))
                for span in order
            ],
        }
        for subject, own in parted
    ]
    heads = [
        {"span": f"{first} to {last}" if first != last else str(first), "count": record.number(spans[first, last], 0)}
        for first, last in order
    ]
    return {"heads": heads, "rows": rows} if heads else {}


def size_table(run: Mapping[str, Any]) -> dict[str, Any]:
    """The bytes of each subject by part of the file; empty where they were not told."""
    subjects = [subject for subject in record.subjects_of(run) if part(subject, "size_by_part")]
    names = list(dict.fromkeys(name for subject in subjects for name in part(subject, "size_by_part")))
    largest = max((finite(size) or 0.0 for subject in subjects for size in part(subject, "size_by_part").values()), default=0)
    rows = [
        {
            "name": name,
            "cells": [
                {"text": record.megabytes(size), "share": round((finite(size) or 0.0) / largest, 4) if largest else 0.0}
                for size in (part(subject, "size_by_part").get(name) for subject in subjects)
            ],
        }
        for name in names
    ]
    return {"names": [record.name_of(subject) for subject in subjects], "rows": rows} if rows else {}


def layer_errors(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far each int8 file's layers are from those of the float file of the same model; empty where it was not measured."""
    tables = []
    for subject in record.subjects_of(run):
        errors = part(subject, "layer_errors")
        rows = [row for row in errors.get("layers") or [] if finite(row.get("relative_error")) is not None]
        most = max((row["relative_error"] for row in rows), default=0.0)
        if rows:
            tables.append(
                {
                    "name": record.name_of(subject),
                    "against": str(errors.get("against") or MISSING),
                    "examples": record.number(errors.get("examples"), 0),
                    "rows": [
                        {
                            "name": str(row.get("name") or MISSING),
                            "text": record.percent(row["relative_error"], 2),
                            "share": round(row["relative_error"] / most, 4) if most else 0.0,
                        }
                        for row in rows
                    ],
                }
            )
    return tables


def labels_of(run: Mapping[str, Any], extras: Mapping[str, Any]) -> list[str]:
    """The names of the labels in the order of their ids: those of the extras, else those of the run's data."""
    return [str(label) for label in extras.get("labels") or part(run, "data").get("labels") or []]


def confusion_tables(run: Mapping[str, Any], extras: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A matrix for each subject, true labels down and answers across; many labels give a list of confusions.

    A cell's `share` is its part of the row: how often that true label gets that answer.
    """
    matrices, labels = part(extras, "confusion"), labels_of(run, extras)
    order = [record.name_of(subject) for subject in record.subjects_of(run)]
    names = [name for name in order if name in matrices] + [name for name in matrices if name not in order]
    return [_confusion(name, matrices[name], labels) for name in names if matrices[name]]


def _confusion(name: str, matrix: Sequence[Sequence[int]], labels: Sequence[Any]) -> dict[str, Any]:
    named = [label_text(index, labels) for index in range(len(matrix))]
    sums = [sum(row) for row in matrix]
    is_large = len(matrix) > MOST_LABELS
    wrong = (
        (int(value), named[true], label_text(said, labels))
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


def label_text(index: int | None, labels: Sequence[Any]) -> str:
    if index is None:
        return MISSING
    return str(labels[index]) if 0 <= index < len(labels) else f"label {index}"


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
        by_label = ", ".join(f"{label_text(index, labels)} {record.number(count, 0)}" for index, count in enumerate(counts))
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
