"""What a command found, as text: the tables of run, bench, eval and export."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Mapping, Sequence
from typing import Any

from compress import record
from compress.cli.layout import table_text
from compress.measures import is_less_better
from compress.record import number

MOST_LABELS = 12
"""Of a matrix that is printed; of more labels the worst ones are."""
WORST = 10
MOST_CLASSES = 40
LONGEST_LABEL = 40


def run_text(run: Mapping[str, Any]) -> str:
    """The subjects of a run.json, with the latency at the setting that the report tells first."""
    subjects, metric, setting = record.subjects_of(run), record.metric_of(run), record.main_setting(run)
    rows = [
        (
            str(subject.get("name")),
            record.score(metric, record.part(subject, "metrics").get(metric)),
            _interval(metric, record.part(subject, "metrics_ci95").get(metric)),
            record.points(record.part(subject, "drop").get("value")),
            record.megabytes(subject.get("size_bytes")),
            record.milliseconds(record.latency_at(subject, setting).get("p50_ms")),
            record.times(record.speedup_at(subject, subjects[0], setting)),
        )
        for subject in subjects
    ]
    lost = "% risen" if is_less_better(metric) else "points lost"
    text = table_text(("name", metric, "95 % interval", lost, "size", "p50", "speed-up"), rows)
    if setting:
        text += f"\n{record.setting_words(setting)}; {lost} and speed-up against {subjects[0].get('name')}"
    return text + _further_text(subjects, metric)


def _further_text(subjects: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A line about the rows that were kept apart of the training data, where the task has them."""
    further = [(subject.get("name"), record.part(subject, "further")) for subject in subjects]
    scores = [f"{name} {record.score(metric, record.part(part, 'metrics').get(metric))}" for name, part in further if part]
    examples = record.number(further[0][1].get("examples"), 0) if scores else ""
    return f"\n{metric} on {examples} further rows: {', '.join(scores)}" if scores else ""


def latencies_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `compress.benchmark.bench.latencies`; columns of what is only told at times stand there where it is."""
    head = ["name", "batch", "length", "threads", "p50", "95 % interval", "p95", "examples/s", "speed-up", "memory"]
    has = {key: any(row.get(key) for row in rows) for key in ("cold_start", "joules_per_example", "answers_per_unit")}
    head += ["cold start"] if has["cold_start"] else []
    head += ["mJ/example"] if has["joules_per_example"] else []
    head += ["answers/hour", "answers/unit"] if has["answers_per_unit"] else []
    return table_text(head, [_latency_cells(row, has) for row in rows])


def _latency_cells(row: Mapping[str, Any], has: Mapping[str, bool]) -> list[str]:
    ends, joules = record.interval(row.get("p50_ci95_ms")), record.finite(row.get("joules_per_example"))
    cells = [
        str(row["name"]),
        *(str(row[key]) for key in ("batch", "length", "threads")),
        record.milliseconds(row["p50_ms"]),
        f"{record.milliseconds(ends[0]).removesuffix(' ms')} to {record.milliseconds(ends[1])}" if ends else record.MISSING,
        record.milliseconds(row["p95_ms"]),
        number(row["examples_per_second"], 0),
        record.times(row["speedup"]),
        record.megabytes(row["peak_memory_bytes"]),
    ]
    cells += [record.milliseconds(record.part(row, "cold_start").get("total_ms"))] if has["cold_start"] else []
    cells += [number(None if joules is None else joules * 1000, 2)] if has["joules_per_example"] else []
    cells += [number(row.get(key), 0) for key in ("answers_per_hour", "answers_per_unit")] if has["answers_per_unit"] else []
    return cells


def rates_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `compress.benchmark.open_loop.answered_in_time`."""
    head = ["name", "streams", "threads", "texts/s", "answered/s", "p50", "p99", "in time", "not answered"]
    return table_text(head, [_rate_cells(row) for row in rows])


def _rate_cells(row: Mapping[str, Any]) -> list[str]:
    others = {status: count for status, count in row["statuses"].items() if status != "answered"}
    return [
        str(row["name"]),
        *(record.MISSING if row[key] is None else str(row[key]) for key in ("streams", "threads")),
        number(row["offered_per_second"], 0),
        number(row["answered_per_second"], 0),
        *(record.MISSING if row[key] is None else record.milliseconds(row[key]) for key in ("p50_ms", "p99_ms")),
        record.MISSING if row["in_time"] is None else f"{row['in_time']:.1%} in {row['in_time_ms']:g} ms",
        ", ".join(f"{count} {status}" for status, count in sorted(others.items())) or "0",
    ]


def scores_text(evaluation: Mapping[str, Any]) -> str:
    """What `compress.benchmark.measurement.evaluate` found: the scores, and how often which label was answered.

    Of many labels it tells those that are found least and the pairs that are confused most; `matrix_csv` has them all.
    """
    scores = [
        (name, record.score(name, value), _interval(name, evaluation["metrics_ci95"].get(name)))
        for name, value in evaluation["metrics"].items()
    ]
    if reliability := evaluation.get("reliability"):
        scores.append(("ECE of the probabilities, points", record.points(reliability["ece"]), ""))
        scores.append(("NLL of the labels", number(reliability["nll"], 4), ""))
    labels, confusion = [_brief(str(name)) for name in evaluation["labels"]], evaluation["confusion"]
    text = table_text((evaluation["name"], "score", "95 % interval"), scores)
    by_label = evaluation.get("by_label") or {}
    if by_label.keys() != set(evaluation["labels"]) or confusion is None:
        text += _by_label_text(by_label)
    if confusion is None:
        return text
    if len(labels) > MOST_LABELS:
        return "\n\n".join([text, _found_least(labels, confusion), _confused_most(labels, confusion)])
    counts = [(name, *map(str, row)) for name, row in zip(labels, confusion, strict=True)]
    return f"{text}\n\n{table_text(('true label, by answer', *labels), counts)}"


def _by_label_text(by_label: Mapping[str, Mapping[str, Any]]) -> str:
    """Each class' own scores, those first of which the least is found where they are many."""
    order = list(by_label)
    if len(order) > MOST_CLASSES:
        order = heapq.nsmallest(
            MOST_CLASSES, order, key=lambda name: (by_label[name]["recall"] is None, by_label[name]["recall"])
        )
    rows = [
        (
            _brief(name),
            str(by_label[name]["support"]),
            *(record.percent(by_label[name][score]) for score in ("precision", "recall", "f1")),
            _interval("recall", by_label[name]["ci95"]["recall"]),
        )
        for name in order
    ]
    head = ("label" if len(order) == len(by_label) else f"found least, of {len(by_label):,} labels", "there", "precision")
    return f"\n\n{table_text((*head, 'recall', 'f1', '95 % interval of the recall'), rows)}" if rows else ""


def _brief(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 4]} ..."


def _found_least(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """The labels of lowest recall, each with what is answered most in its place."""
    rows = [(row[true] / sum(row), true) for true, row in enumerate(confusion) if sum(row)]
    weakest = []
    for recall, true in heapq.nsmallest(WORST, rows):
        row = confusion[true]
        said = max((answer for answer in range(len(row)) if answer != true), key=row.__getitem__)
        weakest.append((labels[true], str(sum(row)), record.percent(recall), labels[said] if row[said] else record.MISSING))
    without = len(labels) - len(rows)
    text = table_text((f"found least, of {len(labels):,} labels", "examples", "recall", "answered most instead"), weakest)
    return f"{text}\nlabels without an example here: {without:,}" if without else text


def _confused_most(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    pairs = (
        (count, -true, -said) for true, row in enumerate(confusion) for said, count in enumerate(row) if count and said != true
    )
    confusions = [(labels[-true], labels[-said], str(count)) for count, true, said in heapq.nlargest(WORST, pairs)]
    return (
        table_text(("confused most, true label", "answered", "times"), confusions)
        if confusions
        else "no label is taken for another"
    )


def matrix_csv(evaluation: Mapping[str, Any]) -> str:
    """All that was answered, as CSV: a row for each true label, a column for each answer."""
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["true label, by answer", *evaluation["labels"]])
    table.writerows([name, *row] for name, row in zip(evaluation["labels"], evaluation["confusion"], strict=True))
    return written.getvalue()


def stages_text(stages: Sequence[Mapping[str, Any]]) -> str:
    """The stages of an export."""
    head = ("stage", "largest error", "other labels", "fused", "integer")
    return table_text(
        head,
        [
            (
                stage["name"],
                record.scientific(stage["max_abs_error"]),
                f"{stage['label_flips']} of {stage['compared']}",
                str(stage["fused_ops"]),
                str(stage["integer_ops"]),
            )
            for stage in stages
        ],
    )


def bundle_text(
    variants: Sequence[Mapping[str, Any]], left_out: Sequence[Mapping[str, Any]], readers: Mapping[str, str | None]
) -> str:
    """The files of a bundle, what is left out and why, and who reads it."""
    rows = []
    for entry in variants:
        metric = next(iter(entry["metrics"]))
        rows.append(
            (
                entry["file"],
                record.score(metric, entry["metrics"][metric]),
                record.points(record.part(entry, "drop").get("value")),
                record.percent(entry["agreement"]),
                record.scientific(entry["stages"][-1]["max_abs_error"]) if entry["stages"] else record.MISSING,
                record.megabytes(entry["size_bytes"]),
            )
        )
    metric = next(iter(variants[0]["metrics"]))
    text = table_text(("file", metric, "points lost", "same answers", "largest error", "size"), rows)
    for entry in left_out:
        text += f"\nleft out: {entry['name']}: {entry['why']}"
    text += f"\nread by: {', '.join(name for name, why_not in readers.items() if why_not is None)}"
    for name, why_not in readers.items():
        if why_not is not None:
            text += f"\nnot by {name}: {why_not}"
    return text


def _interval(metric: str, ends: Any) -> str:
    bounds = record.interval(ends)
    return f"{record.between(metric, bounds)}{record.unit_of(metric)}" if bounds else record.MISSING
