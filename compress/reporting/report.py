"""Write report.html: one file, offline, that shows what one run made and what was measured, or several beside each other."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from compress import record
from compress.measures import is_less_better
from compress.record import MISSING, finite, interval, part
from compress.reporting.details import (
    MOST_CLASSES,
    confusion_tables,
    facts_of,
    gate_rows,
    label_rows,
    layer_errors,
    length_table,
    score_table,
    size_table,
)
from compress.reporting.differing import example_filters, example_rows
from compress.reporting.figures import loss_curve
from compress.reporting.leaving import real_texts
from compress.reporting.panels import front_view, kind_of, kinds, plus_minus
from compress.reporting.timeline import epoch_scores, timeline
from compress.runtimes.table import is_exported

REPORT = "report.html"
TEMPLATE = "report.html.jinja"
MOST_NAMES = 4
"""Of runs in the page's title."""


@dataclass(frozen=True)
class Shown:
    """A run on the page.

    Args:
        name: As the page calls it.
        run: The content of its run.json.
        extras: What that does not carry, see `write_report`.
    """

    name: str
    run: Mapping[str, Any]
    extras: Mapping[str, Any]


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
    return render_page([Shown(str(run.get("name") or "run"), run, extras)])


def render_page(shown: Sequence[Shown]) -> str:
    """Return the page of one run, or of several beside each other, as HTML.

    Args:
        shown: At least one; of several each is called otherwise, and all are judged by the same score.
    """
    runs = [entry.run for entry in shown]
    metric, names = record.metric_of(runs[0]), [entry.name for entry in shown]
    examples = example_rows([(entry.run, entry.extras) for entry in shown])
    return template(TEMPLATE).render(
        name=" \u00b7 ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} runs",
        metric=metric,
        unit="" if is_less_better(metric) else " (%)",
        lost="rise, %" if is_less_better(metric) else "drop, points",
        is_less_better=is_less_better(metric),
        kinds=kinds(),
        front=front_view(runs, names, metric),
        beside=_labels_beside(shown) if len(shown) > 1 else {},
        examples=examples,
        filters=example_filters(examples, names),
        runs=[_run_view(entry) for entry in shown],
    )


def _labels_beside(shown: Sequence[Shown]) -> dict[str, Any]:
    """The F1 of each label, or type of entity, of what each run ships; empty where no task has such."""
    scores = [part(record.subjects_of(entry.run)[-1], "by_label") if entry.run.get("subjects") else {} for entry in shown]
    labels = list(dict.fromkeys(label for own in scores for label in own))[:MOST_CLASSES]
    rows = [
        {
            "name": label,
            "support": record.number(next((part(own, label).get("support") for own in scores if label in own), None), 0),
            "cells": [record.percent(part(own, label).get("f1")) for own in scores],
        }
        for label in labels
    ]
    return {"names": [entry.name for entry in shown], "rows": rows} if rows else {}


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


def _run_view(shown: Shown) -> dict[str, Any]:
    """What the page tells of one run below the front."""
    run, extras = shown.run, shown.extras
    subjects, metric = record.subjects_of(run), record.metric_of(run)
    return {
        "name": shown.name,
        "metric": metric,
        "headline": headline(run),
        "tiles": _tiles(run),
        "gates": gate_rows(run),
        "notes": [str(note) for note in extras.get("notes") or []],
        "further": _further(run, metric),
        "quality": [_quality_row(subject, metric, index, len(subjects)) for index, subject in enumerate(subjects)],
        "scores": _with_kinds(score_table(run)),
        "by_label": label_rows(run),
        "by_length": length_table(run),
        "reliability": _reliability(run),
        "texts": _with_kinds(real_texts(run)),
        "sizes": size_table(run),
        "layers": layer_errors(run),
        "timeline": timeline(run),
        "curves": _curves(run, extras),
        "confusions": confusion_tables(run, extras),
        "facts": facts_of(run),
        "how": _how(run),
        "recipe": str(extras.get("recipe_yaml") or "") or _recipe_text(run),
        "command": _command(run),
    }


def _command(run: Mapping[str, Any]) -> str:
    """The command that runs it again, from the recipe that the page shows."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(run.get("name") or "")).strip("._-") or "recipe"
    commit = str(run.get("commit") or "")
    is_hash = re.fullmatch(r"[0-9a-f]{7,64}", commit.removesuffix("+")) is not None
    changed = "  # of a checkout in which files had changed" if commit.endswith("+") else ""
    lines = [f"git checkout {commit.removesuffix('+')}{changed}"] if is_hash else []
    return "\n".join([*lines, f"bert-compress run {name}.yaml --out runs/{name}"])


def _curves(run: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By step the curve of its loss, of the extras, else that the step carries, and the curve of its score by epoch."""
    curves = {record.name_of(step): step.get("curve") for step in run.get("steps") or []} | part(extras, "curves")
    scores = {record.name_of(step): epoch_scores(step) for step in run.get("steps") or []}
    drawn: dict[str, list[dict[str, Any]]] = {}
    for name in dict.fromkeys([*curves, *scores]):
        what, rows = scores.get(name, ("", []))
        for of, unit, curve in (("loss", "step", loss_curve(curves.get(name) or [])), (what, "epoch", loss_curve(rows))):
            if curve:
                drawn.setdefault(name, []).append({"of": of, "unit": unit, **curve})
    return drawn


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
            "note": plus_minus(shipped, metric, "95 % interval {}"),
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


def _quality_row(subject: Mapping[str, Any], metric: str, index: int, subject_count: int) -> dict[str, Any]:
    """A row of the table of qualities; every value is text."""
    drop, parity = part(subject, "drop"), part(subject, "parity")
    ends, spread = interval(drop.get("ci95")), interval(part(subject, "metrics_ci95").get(metric))
    is_torch, is_baseline = _is_trained(subject), index == 0 and subject_count > 1
    return {
        "name": record.name_of(subject),
        "kind": kind_of(subject),
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
    return table and {**table, "rows": [{**row, "kind": kind_of(row)} for row in table["rows"]]}


def _reliability(run: Mapping[str, Any]) -> dict[str, Any]:
    """How far each subject's probabilities are from what happens, and the bins of the one that is shipped; empty where outputs
    are no probabilities."""
    subjects = [subject for subject in record.subjects_of(run) if part(subject, "reliability")]
    if not subjects:
        return {}
    rows = [
        {
            "name": record.name_of(subject),
            "kind": kind_of(subject),
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


def _is_trained(subject: Mapping[str, Any]) -> bool:
    return subject.get("kind") is not None and not is_exported(subject["kind"])


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
