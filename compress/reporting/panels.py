"""The front of a page of one or several runs: its subjects, what may be chosen, and a figure and a table for each setting.

What was judged on other rows, or timed on another machine, never shares a figure, nor a speed-up or a drop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress import record
from compress.benchmark.machine import machine_key
from compress.measures import is_less_better
from compress.record import MISSING, Setting, finite, interval, part
from compress.reporting.figures import NARROW, WIDE, Point, front_figure, size_key
from compress.runtimes.table import RUNTIMES, TRAINED, is_exported

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
SHAPE = ("device", "batch", "length", "threads")
MEGABYTE = 1e6
MOST_NAMED = 12
"""Points of a figure that all have a label; of more the shipped files have one, and the others tell theirs when pointed at."""


@dataclass(frozen=True)
class Entry:
    """A measured subject on the page.

    Args:
        id: Its run's number and its own in there.
        run: Its run's number.
        label: The subject's name, with its run's where there are several.
        run_name: Its run's, where there are several.
        subject: As run.json has it.
        baseline: Its run's own.
        is_baseline: Whether that is itself.
        is_shipped: Whether this is the file that its run ships.
        machine: Number of the machine that it was timed on.
        rows: Number of the evaluation rows that it was judged on.
    """

    id: str
    run: int
    label: str
    run_name: str
    subject: Mapping[str, Any]
    baseline: Mapping[str, Any]
    is_baseline: bool
    is_shipped: bool
    machine: int
    rows: int


def front_view(runs: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str) -> dict[str, Any]:
    """What the page's front shows.

    Args:
        runs: run.json of each.
        names: Of the runs, each another.
        metric: The score that decides, of all of them.

    Returns:
        panels: a figure and a table for each setting. sizes: figures of quality against size. choices, runs, targets,
        baselines: what may be chosen. notes: what is kept apart, and why.
    """
    machines = [machine_key(part(run, "machine")) for run in runs]
    rows = rows_of(runs)
    entries = _entries(runs, names, machines, rows)
    settings = sorted({setting for run in runs for setting in record.settings_of(run)})
    main = _main_setting(runs, settings)
    titles = _titles(runs, names, machines, rows)
    return {
        "panels": [_panel(entries, setting, metric, setting == main, titles) for setting in settings],
        "sizes": _figures(entries, metric, [_size_point(entry, metric) for entry in entries], titles, by_machine=False),
        "choices": _choices(settings, main),
        "runs": [{"value": str(number), "text": name} for number, name in enumerate(names)] if len(names) > 1 else [],
        "targets": _targets(entries),
        "baselines": [{"value": entry.id, "text": entry.label} for entry in entries] if len(entries) > 1 else [],
        "notes": _apart_notes(machines, rows, settings),
    }


def rows_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the evaluation rows of each run are known by: the part's fingerprint, or all rows' where a run tells no other."""
    whole = [str(part(run, "data").get("fingerprint")) for run in runs]
    parts = [part(part(part(run, "data"), "splits"), "evaluation").get("fingerprint") for run in runs]
    return [str(mark) for mark in parts] if all(parts) else whole


def _entries(
    runs: Sequence[Mapping[str, Any]], names: Sequence[str], machines: Sequence[str], rows: Sequence[str]
) -> list[Entry]:
    numbers = [{key: number for number, key in enumerate(dict.fromkeys(keys))} for keys in (machines, rows)]
    entries = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        subjects = record.subjects_of(run)
        for place, subject in enumerate(subjects):
            own = record.name_of(subject)
            entries.append(
                Entry(
                    f"{number}-{place}",
                    number,
                    own if len(runs) == 1 else f"{name}: {own}",
                    "" if len(runs) == 1 else name,
                    subject,
                    subjects[0],
                    place == 0,
                    place == len(subjects) - 1 and is_exported(kind_of(subject)),
                    numbers[0][machines[number]],
                    numbers[1][rows[number]],
                )
            )
    return entries


def _main_setting(runs: Sequence[Mapping[str, Any]], settings: Sequence[Setting]) -> Setting | None:
    """The setting that is told first: the one that most runs were timed at, of these the one that a run tells first."""
    if not settings:
        return None
    timed = {setting: sum(setting in record.settings_of(run) for run in runs) for setting in settings}
    first = {record.main_setting(run) for run in runs}
    return max(settings, key=lambda setting: (timed[setting], setting in first, -settings.index(setting)))


def _titles(
    runs: Sequence[Mapping[str, Any]], names: Sequence[str], machines: Sequence[str], rows: Sequence[str]
) -> dict[str, list[str]]:
    """How each machine and each set of rows is called where there are several."""
    cpus = dict(zip(reversed(machines), (_machine_words(run) for run in reversed(runs)), strict=True))
    users = {mark: [name for name, own in zip(names, rows, strict=True) if own == mark] for mark in rows}
    ordered = list(dict.fromkeys(machines))
    by_machine = [cpus[key] for key in ordered] if len(ordered) > 1 else []
    if len(set(by_machine)) < len(by_machine):
        by_machine = [f"{words} (machine {number})" for number, words in enumerate(by_machine, 1)]
    return {"machine": by_machine, "rows": [f"rows of {', '.join(users[mark])}" for mark in users] if len(users) > 1 else []}


def _machine_words(run: Mapping[str, Any]) -> str:
    machine = part(run, "machine")
    words = [str(machine.get("cpu") or "a machine that is not told")]
    if machine.get("cores"):
        words.append(f"{machine['cores']} cores")
    return ", ".join([*words, *([str(machine["gpu"])] if machine.get("gpu") else [])])


def _apart_notes(machines: Sequence[str], rows: Sequence[str], settings: Sequence[Setting]) -> list[str]:
    notes = []
    if len(set(machines)) > 1 and settings:
        notes.append(
            f"These runs were timed on {len(set(machines))} machines. Latencies of two machines share no figure and no "
            "speed-up: each machine has its own figure."
        )
    if len(set(rows)) > 1:
        notes.append(
            f"These runs were judged on {len(set(rows))} sets of evaluation rows. Scores on other rows share no figure and no "
            "drop: each set has its own figure."
        )
    return notes


def kind_of(subject: Mapping[str, Any]) -> str:
    """What runs a subject, as the page's colours know it."""
    kind = str(subject.get("kind") or TRAINED)
    return kind if kind in RUNTIMES else OTHER


def kinds() -> list[dict[str, str]]:
    """The kinds of subjects with their colours."""
    pairs = zip((*RUNTIMES, OTHER), itertools.cycle(COLORS), strict=False)
    return [{"name": name, "light": light, "dark": dark} for name, (light, dark) in pairs]


def target_of(subject: Mapping[str, Any]) -> str:
    """The target of a subject, or what runs it."""
    return str(subject.get("target") or subject.get("kind") or TRAINED)


def _targets(entries: Iterable[Entry]) -> list[dict[str, str]]:
    names = list(dict.fromkeys(target_of(entry.subject) for entry in entries))
    return [{"value": name, "text": name} for name in names] if len(names) > 1 else []


def _choices(settings: Sequence[Setting], main: Setting | None) -> list[dict[str, Any]]:
    """For each part of a setting its values, as the selector offers them."""
    choices = []
    for index, name in enumerate(SHAPE):
        values = sorted({setting[index] for setting in settings}, key=lambda value: (isinstance(value, str), value))
        if main is not None and not (name == "device" and len(values) == 1):
            words = ["data" if name == "length" and value == record.OF_DATA else str(value) for value in values]
            options = [{"value": str(value), "text": text} for value, text in zip(values, words, strict=True)]
            choices.append({"name": name, "values": options, "chosen": str(main[index])})
    return choices


def _panel(
    entries: Sequence[Entry], setting: Setting, metric: str, is_main: bool, titles: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The figures and the table of one setting."""
    points = [_latency_point(entry, setting, metric) for entry in entries]
    return {
        "values": dict(zip(SHAPE, map(str, setting), strict=True)),
        "words": record.setting_words(setting),
        "is_main": is_main,
        "figures": _figures(entries, metric, points, titles, by_machine=True),
        "undrawn": [entry.label for entry, point in zip(entries, points, strict=True) if point is None],
        "rows": [_row(entry, setting, metric) for entry in entries],
    }


def _figures(
    entries: Sequence[Entry],
    metric: str,
    points: Sequence[Point | None],
    titles: Mapping[str, Sequence[str]],
    *,
    by_machine: bool,
) -> list[dict[str, Any]]:
    """One figure, broad and narrow, for each set of rows and, of latencies, each machine."""
    groups: dict[tuple[int, int], list[tuple[Entry, Point]]] = {}
    for entry, point in zip(entries, points, strict=True):
        if point is not None:
            groups.setdefault((entry.rows, entry.machine if by_machine else 0), []).append((entry, point))
    return [_figure(group, metric, _group_title(key, titles, by_machine)) for key, group in sorted(groups.items())]


def _group_title(key: tuple[int, int], titles: Mapping[str, Sequence[str]], by_machine: bool) -> str:
    rows, machine = key
    words = [titles["machine"][machine]] if by_machine and titles["machine"] else []
    return "; ".join([*words, *([titles["rows"][rows]] if titles["rows"] else [])])


def _figure(group: Sequence[tuple[Entry, Point]], metric: str, title: str) -> dict[str, Any]:
    points, marks = [point for _, point in group], {entry.id: entry for entry, _ in group}
    if len(points) > MOST_NAMED:
        points = [point if point.is_shipped else replace(point, name="") for point in points]
    drawings = []
    for name, frame in (("wide", WIDE), ("narrow", NARROW)):
        drawing = front_figure(points, frame)
        for mark in drawing["marks"]:
            entry = marks[mark["id"]]
            mark |= {"run": entry.run, "target": target_of(entry.subject)}
        drawings.append({"class": name, **drawing})
    present = {point.kind for point in points}
    return {
        "title": title,
        "drawings": drawings,
        "is_less_better": is_less_better(metric),
        "described": "; ".join(point.tip.replace("\n", ", ") for point in points),
        "sizes": [{"text": record.megabytes(key["size_bytes"]), "r": key["r"]} for key in size_key(points, NARROW)],
        "kinds": [kind for kind in (*RUNTIMES, OTHER) if kind in present],
    }


def _latency_point(entry: Entry, setting: Setting, metric: str) -> Point | None:
    row = record.latency_at(entry.subject, setting)
    timing = f"p50 {record.milliseconds(row.get('p50_ms'))}, p95 {record.milliseconds(row.get('p95_ms'))}"
    return _point(entry, metric, finite(row.get("p50_ms")), finite(entry.subject.get("size_bytes")), timing)


def _size_point(entry: Entry, metric: str) -> Point | None:
    size = finite(entry.subject.get("size_bytes"))
    return _point(entry, metric, size and size / MEGABYTE, None, "")


def _point(entry: Entry, metric: str, cost: float | None, size_bytes: float | None, timing: str) -> Point | None:
    subject = entry.subject
    value = finite(part(subject, "metrics").get(metric))
    if value is None or cost is None or cost <= 0:
        return None
    low, high = interval(part(subject, "metrics_ci95").get(metric)) or (None, None)
    lines = [
        entry.label,
        f"{metric} {record.score(metric, value)}{plus_minus(subject, metric, ' ({})')}",
        timing,
        f"size {record.megabytes(subject.get('size_bytes'))}",
    ]
    is_number = is_less_better(metric)
    factor = 1 if is_number else 100
    return Point(
        entry.run_name if entry.run_name and entry.is_shipped else entry.label,
        cost,
        value * factor,
        None if low is None else low * factor,
        None if high is None else high * factor,
        size_bytes,
        kind_of(subject),
        entry.is_shipped,
        "\n".join(line for line in lines if line),
        is_number,
        entry.id,
    )


def plus_minus(subject: Mapping[str, Any], metric: str, pattern: str) -> str:
    """A score's interval, put into a pattern; empty where there is none."""
    ends = interval(part(subject, "metrics_ci95").get(metric))
    return pattern.format(record.between(metric, ends) + record.unit_of(metric)) if ends else ""


def _row(entry: Entry, setting: Setting, metric: str) -> dict[str, Any]:
    """A row of a setting's table, with the numbers from which the browser works out another baseline's."""
    subject, row = entry.subject, record.latency_at(entry.subject, setting)
    score = finite(part(subject, "metrics").get(metric))
    return {
        "id": entry.id,
        "run": entry.run,
        "machine": entry.machine,
        "rows": entry.rows,
        "target": target_of(subject),
        "name": record.name_of(subject),
        "run_name": entry.run_name,
        "kind": kind_of(subject),
        "ms": finite(row.get("p50_ms")) or "",
        "raw_score": "" if score is None else score,
        "score": record.score(metric, score),
        "drop": MISSING if entry.is_baseline else record.points(part(subject, "drop").get("value")),
        "speedup": record.times(record.speedup_at(subject, entry.baseline, setting)),
        "timing": [
            record.milliseconds(row.get("p50_ms")),
            record.milliseconds(row.get("p95_ms")),
            record.number(row.get("examples_per_second"), 0),
        ],
        "size": record.megabytes(subject.get("size_bytes")),
        "memory": record.megabytes(row.get("peak_memory_bytes", subject.get("peak_memory_bytes"))),
    }
