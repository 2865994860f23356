"""Write report.html: one file, offline, that shows what a run made and what was measured."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from compress import record
from compress.measures import is_less_better
from compress.record import MISSING, Setting, finite, interval, part
from compress.reporting.details import confusion_tables, example_rows, facts_of, gate_rows, label_rows, score_table, step_rows
from compress.reporting.figures import NARROW, WIDE, Point, front_figure, loss_curve, size_key
from compress.reporting.leaving import real_texts
from compress.runtimes.table import RUNTIMES, TRAINED, is_exported

REPORT = "report.html"
TEMPLATE = "report.html.jinja"
OTHER = "other"
"""What stands for a runtime that is not installed where the report is written."""
COLORS = (
    ("#7c8692", "#95a0ab"),
    ("#1d5fc2", "#7db1ff"),
    ("#7d4cc0", "#c29cff"),
    ("#a8660a", "#e0a84f"),
    ("#0f7a80", "#5cc4c9"),
)
"""Of the runtimes in the order of their table, on light and on dark; further ones begin anew."""


def write_report(run: Mapping[str, Any], folder: Path, extras: Mapping[str, Any] | None = None) -> Path:
    """Write `folder`/report.html whole or not at all; the file asks for nothing from any network.

    Args:
        run: The content of run.json, schema 1; keys that are missing show as a dash.
        folder: An existing folder.
        extras: What run.json does not carry, all of it optional: `confusion` {subject: rows of counts, one per true
            label}, `labels` [names], `differing` [{text, pair, label, teacher: [probabilities] or a text, student: [...],
            spans: {label, teacher, student: [[first, end, type, verdict]]}}],
            `curves` {step: [[step, loss], ...]}, `recipe_yaml`, `notes` [sentences that deserve attention].

    Returns:
        The path of the file.
    """
    text = render_report(run, extras or {})
    path = folder / REPORT
    record.write_whole(path, text)
    return path


def render_report(run: Mapping[str, Any], extras: Mapping[str, Any]) -> str:
    """Return the report as HTML; see `write_report`."""
    return template(TEMPLATE).render(_view(run, extras))


@functools.cache
def template(name: str) -> Template:
    """A template of this folder."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _view(run: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    subjects = record.subjects_of(run)
    metric = record.metric_of(run)
    settings = record.settings_of(run)
    main = record.main_setting(run)
    return {
        "name": str(run.get("name") or "run"),
        "metric": metric,
        "unit": "" if is_less_better(metric) else " (%)",
        "kinds": _kinds(),
        "headline": headline(run),
        "tiles": _tiles(run),
        "gates": gate_rows(run),
        "notes": [str(note) for note in extras.get("notes") or []],
        "panels": [_panel(run, setting, metric, setting == main) for setting in settings],
        "choices": _choices(settings, main),
        "further": _further(run, metric),
        "quality": [_quality_row(subject, metric, index, len(subjects)) for index, subject in enumerate(subjects)],
        "scores": _with_kinds(score_table(run)),
        "by_label": label_rows(run),
        "reliability": _reliability(run),
        "texts": _with_kinds(real_texts(run)),
        "steps": step_rows(run),
        "curves": _curves(run, extras),
        "confusions": confusion_tables(run, extras),
        "examples": example_rows(run, extras),
        "facts": facts_of(run),
        "how": _how(run),
        "recipe": str(extras.get("recipe_yaml") or "") or _recipe_text(run),
    }


def _curves(run: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The loss curves by step: those of the extras, else those that the steps carry."""
    curves = {record.name_of(step): step.get("curve") for step in run.get("steps") or []} | part(extras, "curves")
    drawn = {name: loss_curve(rows or []) for name, rows in curves.items()}
    return {name: curve for name, curve in drawn.items() if curve}


def _recipe_text(run: Mapping[str, Any]) -> str:
    """The resolved recipe as YAML, for a run whose own text is not at hand."""
    recipe = part(run, "recipe")
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, default_flow_style=None) if recipe else ""


def headline(run: Mapping[str, Any]) -> str:
    """Say in one sentence the shipped file's result beside the baseline's."""
    subjects = record.subjects_of(run)
    if not subjects:
        return "Nothing was measured in this run."
    metric, baseline, shipped = record.metric_of(run), subjects[0], subjects[-1]
    size = record.megabytes(shipped.get("size_bytes"))
    name = f"{record.name_of(shipped)} ({size})" if size != MISSING else record.name_of(shipped)
    if _is_trained(shipped):
        name += ", not exported,"
    sentence = f"{name} reaches {record.score(metric, part(shipped, 'metrics').get(metric))} {metric}"
    if len(subjects) > 1:
        sentence += _against(shipped, baseline, metric)
        setting = record.main_setting(run)
        factor = record.speedup_at(shipped, baseline, setting)
        if factor is not None and setting is not None:
            pace = f"{record.times(factor)} faster" if factor >= 1 else f"slower ({record.times(factor)} the speed)"
            times = [record.milliseconds(record.latency_at(subject, setting).get("p50_ms")) for subject in (shipped, baseline)]
            sentence += f", and answers {pace}: {times[0]} instead of {times[1]} at {record.setting_words(setting)}"
    return sentence + "."


def _against(shipped: Mapping[str, Any], baseline: Mapping[str, Any], metric: str) -> str:
    drop = part(shipped, "drop")
    value, ends = finite(drop.get("value")), interval(drop.get("ci95"))
    if value is None:
        return ""
    rounded, unit = round(value * 100, 1), "points"
    if is_less_better(metric):
        rounded, unit = -rounded, "%"
    if not rounded:
        text = f", level with {record.name_of(baseline)}"
    else:
        side = "below" if rounded > 0 else "above"
        text = f", {record.points(abs(value))} {unit} {side} {record.name_of(baseline)}"
    if ends:
        low, high = (record.points(end) for end in ends)
        text += f" (drop between {low} and {high} {unit} with 95 % confidence: {record.within(metric, ends)})"
    return text


def _tiles(run: Mapping[str, Any]) -> list[dict[str, str]]:
    subjects = record.subjects_of(run)
    if not subjects:
        return []
    metric, baseline, shipped = record.metric_of(run), subjects[0], subjects[-1]
    tiles = [
        {
            "value": record.score(metric, part(shipped, "metrics").get(metric)),
            "label": metric,
            "note": _plus_minus(shipped, metric, "95 % interval {}"),
        }
    ]
    if len(subjects) == 1:
        return [*tiles, {"value": record.megabytes(shipped.get("size_bytes")), "label": "file size", "note": ""}]
    drop, setting = part(shipped, "drop"), record.main_setting(run)
    ends = interval(drop.get("ci95"))
    own, other = finite(shipped.get("size_bytes")), finite(baseline.get("size_bytes"))
    return [
        *tiles,
        {
            "value": record.points(drop.get("value")),
            "label": f"% that {metric} rose" if is_less_better(metric) else f"points of {metric} lost",
            "note": f"95 % interval {record.points(ends[0])} to {record.points(ends[1])}" if ends else "",
        },
        {
            "value": record.times(record.speedup_at(shipped, baseline, setting)),
            "label": "speed-up",
            "note": record.setting_words(setting) if setting else "not timed",
        },
        {
            "value": record.megabytes(own),
            "label": "file size",
            "note": f"{record.times(other / own)} smaller than {record.megabytes(other)}" if own and other else "",
        },
    ]


def _plus_minus(subject: Mapping[str, Any], metric: str, pattern: str) -> str:
    ends = interval(part(subject, "metrics_ci95").get(metric))
    return pattern.format(record.between(metric, ends) + record.unit_of(metric)) if ends else ""


def _quality_row(subject: Mapping[str, Any], metric: str, index: int, subject_count: int) -> dict[str, Any]:
    """A row of the table of qualities; every value is text."""
    drop, parity = part(subject, "drop"), part(subject, "parity")
    ends, spread = interval(drop.get("ci95")), interval(part(subject, "metrics_ci95").get(metric))
    is_torch, is_baseline = _is_trained(subject), index == 0 and subject_count > 1
    return {
        "name": record.name_of(subject),
        "kind": _kind(subject),
        "role": "baseline" if is_baseline else "shipped" if index == subject_count - 1 and not is_torch else "",
        "metric": record.score(metric, part(subject, "metrics").get(metric)),
        "metric_interval": record.between(metric, spread) if spread else MISSING,
        "drop": MISSING if is_baseline else record.points(drop.get("value")),
        "drop_interval": f"{record.points(ends[0])} to {record.points(ends[1])}" if ends and not is_baseline else MISSING,
        "cells": [
            MISSING if is_baseline else _probabilities(drop),
            MISSING if is_baseline else record.percent(subject.get("agreement")),
            record.number(parity.get("batch_invariance_flips"), 0),
        ],
        "file_cells": [
            record.megabytes(subject.get("size_bytes")),
            record.count(subject.get("parameters")),
            record.count(subject.get("macs")),
            MISSING if is_torch else record.number(subject.get("integer_ops"), 0),
            MISSING if is_torch else record.number(subject.get("fused_ops"), 0),
            MISSING if is_torch else record.scientific(parity.get("max_abs_error")),
            MISSING if is_torch else record.number(parity.get("label_flips"), 0),
        ],
    }


def _probabilities(drop: Mapping[str, Any]) -> str:
    """The drop's p, and in brackets that by Holm's correction where it was made."""
    corrected = drop.get("p_holm")
    return record.probability(drop.get("p")) + ("" if corrected is None else f" ({record.probability(corrected)})")


def _further(run: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The same for rows that were kept apart of the training data, where the task has them; empty where it has none."""
    subjects = [subject for subject in record.subjects_of(run) if part(subject, "further")]
    if not subjects:
        return {}
    rows = [_quality_row(subject | subject["further"], metric, index, len(subjects)) for index, subject in enumerate(subjects)]
    return {"examples": record.number(subjects[0]["further"].get("examples"), 0), "rows": rows}


def _with_kinds(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose rows say by which colour their subjects are drawn."""
    return table and {**table, "rows": [{**row, "kind": _kind(row)} for row in table["rows"]]}


def _reliability(run: Mapping[str, Any]) -> dict[str, Any]:
    """How far each subject's probabilities are from what happens, and the bins of the one that is shipped; empty where outputs
    are no probabilities."""
    subjects = [subject for subject in record.subjects_of(run) if part(subject, "reliability")]
    if not subjects:
        return {}
    rows = [
        {
            "name": record.name_of(subject),
            "kind": _kind(subject),
            "cells": [record.points(subject["reliability"].get("ece")), record.number(subject["reliability"].get("nll"), 3)],
        }
        for subject in subjects
    ]
    bins = [
        {
            "stated": record.percent(entry.get("stated")),
            "happened": record.percent(entry.get("happened")),
            "count": record.number(entry.get("count"), 0),
            "shares": [min(1.0, max(0.0, finite(entry.get(key)) or 0.0)) for key in ("stated", "happened")],
        }
        for entry in subjects[-1]["reliability"].get("bins") or []
    ]
    return {"rows": rows, "shipped": record.name_of(subjects[-1]), "bins": bins}


def _kind(subject: Mapping[str, Any]) -> str:
    kind = str(subject.get("kind") or TRAINED)
    return kind if kind in RUNTIMES else OTHER


def _is_trained(subject: Mapping[str, Any]) -> bool:
    return subject.get("kind") is not None and not is_exported(subject["kind"])


def _kinds() -> list[dict[str, str]]:
    """The kinds of subjects with their colours."""
    pairs = zip((*RUNTIMES, OTHER), itertools.cycle(COLORS), strict=False)
    return [{"name": name, "light": light, "dark": dark} for name, (light, dark) in pairs]


def _choices(settings: Sequence[Setting], main: Setting | None) -> list[dict[str, Any]]:
    """For each part of a setting its values, as the selector offers them."""
    names = ("device", "batch", "length", "threads")
    choices = []
    for index, name in enumerate(names):
        values = sorted({setting[index] for setting in settings}, key=lambda value: (isinstance(value, str), value))
        if main is not None and not (name == "device" and len(values) == 1):
            choices.append({"name": name, "values": [str(value) for value in values], "chosen": str(main[index])})
    return choices


def _panel(run: Mapping[str, Any], setting: Setting, metric: str, is_main: bool) -> dict[str, Any]:
    """The figure and the table of one setting."""
    subjects = record.subjects_of(run)
    drawn = [
        point
        for index, subject in enumerate(subjects)
        if (point := _point(subject, setting, metric, index == len(subjects) - 1))
    ]
    names = {point.name for point in drawn}
    return {
        "key": "|".join(str(value) for value in setting),
        "values": dict(zip(("device", "batch", "length", "threads"), map(str, setting), strict=True)),
        "words": record.setting_words(setting),
        "is_main": is_main,
        "figures": [{"class": name, **front_figure(drawn, frame)} for name, frame in (("wide", WIDE), ("narrow", NARROW))]
        if drawn
        else [],
        "sizes": [{"text": record.megabytes(key["size_bytes"]), "r": key["r"]} for key in size_key(drawn, NARROW)],
        "kinds": [kind for kind in (*RUNTIMES, OTHER) if kind in {point.kind for point in drawn}],
        "described": "; ".join(point.tip.replace("\n", ", ") for point in drawn),
        "undrawn": [record.name_of(subject) for subject in subjects if record.name_of(subject) not in names],
        "rows": [_speed_row(subject, subjects[0], setting) for subject in subjects],
    }


def _point(subject: Mapping[str, Any], setting: Setting, metric: str, is_last: bool) -> Point | None:
    row = record.latency_at(subject, setting)
    value, milliseconds = finite(part(subject, "metrics").get(metric)), finite(row.get("p50_ms"))
    if value is None or milliseconds is None or milliseconds <= 0:
        return None
    low, high = interval(part(subject, "metrics_ci95").get(metric)) or (None, None)
    name = record.name_of(subject)
    tip = "\n".join(
        [
            name,
            f"{metric} {record.score(metric, value)}{_plus_minus(subject, metric, ' ({})')}",
            f"p50 {record.milliseconds(milliseconds)}, p95 {record.milliseconds(row.get('p95_ms'))}",
            f"size {record.megabytes(subject.get('size_bytes'))}",
        ]
    )
    is_number = is_less_better(metric)
    factor = 1 if is_number else 100
    return Point(
        name,
        milliseconds,
        value * factor,
        None if low is None else low * factor,
        None if high is None else high * factor,
        finite(subject.get("size_bytes")),
        _kind(subject),
        is_last and is_exported(_kind(subject)),
        tip,
        is_number,
    )


def _speed_row(subject: Mapping[str, Any], baseline: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    row = record.latency_at(subject, setting)
    memory = row.get("peak_memory_bytes", subject.get("peak_memory_bytes"))
    return {
        "name": record.name_of(subject),
        "kind": _kind(subject),
        "cells": [
            record.milliseconds(row.get("p50_ms")),
            record.milliseconds(row.get("p95_ms")),
            record.number(row.get("examples_per_second"), 0),
            record.times(record.speedup_at(subject, baseline, setting)),
            record.megabytes(memory),
        ],
    }


def _how(run: Mapping[str, Any]) -> str:
    """How the numbers were taken, in one paragraph."""
    settings = part(part(run, "recipe"), "benchmark")
    rounds = finite(settings.get("rounds"))
    threads = sorted({setting[3] for setting in record.settings_of(run)})
    pinned = f" ({', '.join(map(str, threads))})" if threads else ""
    return (
        "Every subject was timed in a fresh process that loads nothing else, with its threads pinned"
        f"{pinned}, after a warm-up that is not counted. The subjects took turns"
        + (f" in {rounds:.0f} interleaved rounds" if rounds else " in interleaved rounds")
        + ", so that a slower minute of the machine falls on all of them; p50 and p95 are taken over the samples of all"
        " rounds, and a speed-up is the ratio of two medians. Quality is that of the deployed file on the evaluation part,"
        " which nothing was trained, selected or calibrated on. The drop is the baseline's score minus the subject's on the"
        " same examples, with a paired bootstrap interval; p (McNemar's for labels, else the bootstrap's) tells how likely a"
        " difference this large is between two equally good models, in brackets by Holm's correction over all subjects."
        " Invariance flips are answers that change with the batch an example stands in."
        " 1 MB is 1,000,000 bytes."
    )
