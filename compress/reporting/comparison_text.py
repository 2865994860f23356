"""A comparison as sections of lines and a table, and as Markdown for a pull request or a job's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from compress import record
from compress.measures import is_less_better
from compress.record import MISSING, interval, markdown_table, markdown_text
from compress.reporting.changes import ROOMS
from compress.reporting.comparison import Comparison
from compress.reporting.verdicts import REGRESSION, UNCLEAR

MOST_CHANGES = 40
"""Of one room that are told; JSON has all of them."""
NO_REGRESSION = "no regression beyond the limits"


def change_lines(comparison: Comparison) -> dict[str, list[str]]:
    """The changes of each room on a line each, the many cut; "the same" where there are none."""
    lines = {}
    for room in ROOMS:
        changes = [str(change) for change in comparison.changes[room]]
        more = [f"... and {len(changes) - MOST_CHANGES} more"] if len(changes) > MOST_CHANGES else []
        lines[room] = [*changes[:MOST_CHANGES], *more]
    return lines


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The subjects: head and rows."""
    metric = comparison.metric
    lost = "% risen" if is_less_better(metric) else "points lost"
    head = [
        "subject",
        f"{metric} before",
        "after",
        f"{lost} (95 %)",
        "shown",
        "p50 before",
        "after",
        "times slower",
        "size before",
        "after",
    ]
    return head, [_row(subject, metric) for subject in comparison.subjects]


def _row(subject: Mapping[str, Any], metric: str) -> list[str]:
    quality, latency, size = (subject[key] for key in ("quality", "latency", "size_bytes"))
    drop = quality.get("drop") or {}
    ends = interval(drop.get("ci95"))
    first = latency["rows"][0] if "rows" in latency else {}
    ratio, spread = latency.get("ratio"), interval(latency.get("ci95"))
    return [
        subject["name"],
        record.score(metric, quality.get("before")),
        record.score(metric, quality.get("after")),
        record.points(drop.get("value")) + (f" ({record.points(ends[0])} to {record.points(ends[1])})" if ends else ""),
        record.within(metric, ends) or MISSING,
        record.milliseconds(first.get("before_ms")),
        record.milliseconds(first.get("after_ms")),
        record.number(ratio, 2) + (f" ({record.number(spread[0], 2)} to {record.number(spread[1], 2)})" if spread else ""),
        record.megabytes(size.get("before")),
        record.megabytes(size.get("after")),
    ]


def closing_lines(comparison: Comparison) -> list[str]:
    """What is to be known beside the table: settings, subjects of one side alone, notes, what is unclear."""
    lines = []
    settings = {record.setting_of(row) for subject in comparison.subjects for row in subject["latency"].get("rows", [])}
    if settings:
        first = next(subject["latency"]["rows"][0] for subject in comparison.subjects if "rows" in subject["latency"])
        others = f", times slower over {len(settings)} settings" if len(settings) > 1 else ""
        lines.append(f"p50 at {record.setting_words(record.setting_of(first))}{others}")
    lines += [f"only before: {name}" for name in comparison.gone]
    lines += [f"only after: {name}" for name in comparison.new]
    lines += comparison.notes
    lines += [
        f"{subject['name']}: {key.removesuffix('_bytes')} is unclear, neither shown to be within its limit nor beyond it"
        for subject in comparison.subjects
        for key in ("quality", "latency", "size_bytes")
        if subject[key].get("verdict") == UNCLEAR and not comparison.limits.prove
    ]
    return lines


def verdict_lines(comparison: Comparison) -> list[str]:
    """The regressions, or that there is none; nothing where no limit was given."""
    limits = comparison.limits
    if all(limit is None for limit in (limits.max_drop, limits.max_slower, limits.max_larger)):
        return []
    return [f"{REGRESSION}: {sentence}" for sentence in comparison.regressions] or [NO_REGRESSION]


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, what decides first."""
    before, after = (markdown_text(name) for name in comparison.names)
    verdicts = verdict_lines(comparison)
    head, rows = table(comparison)
    parts = [f"### What changed from {before} to {after}"]
    parts += ["\n".join(f"- **{markdown_text(line)}**" for line in verdicts)] if verdicts else []
    parts += [markdown_table(head, rows)] if rows else ["The two have no subject in common."]
    parts += ["\n".join(f"- {markdown_text(line)}" for line in lines)] if (lines := closing_lines(comparison)) else []
    changed = change_lines(comparison)
    same = [room for room, lines in changed.items() if not lines]
    for room, lines in changed.items():
        if lines:
            parts.append(f"**{room}**\n\n" + "\n".join(f"- {markdown_text(line)}" for line in lines))
    parts += [f"The same: {', '.join(same)}."] if same else []
    return "\n\n".join(parts)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data."""
    content = asdict(comparison)
    before, after = content.pop("names")
    return {"schema": 1, "before": before, "after": after, **content}


def regression_sentence(regressions: Sequence[str]) -> str:
    """What is told on stderr where limits are broken."""
    return "beyond the limits: " + "; ".join(regressions)
