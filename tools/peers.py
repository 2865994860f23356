"""Lay out files of every kind of task beside what other tools make of the same models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import record
from compress.benchmark.subjects import read_json
from compress.errors import InputError
from compress.record import MISSING, finite, interval, part

SCHEMA = 1
NOTHING = "No group is measured yet."


def peers_block(path: Path) -> str:
    """Lay out a result of benchmarks/tasks_and_peers.py: for each group of rows its data, a table and where it was measured.

    Args:
        path: {schema: 1, groups: {name: {kind, recipe, data, metric, examples, batch, length, threads, machine, rows: [{model,
            who, name, quality, size_bytes, p50_ms, speedup}, or {model, who, name, error}]}}}; a group's first row is what the
            others are compared with.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_json(path)
    groups = content.get("groups")
    if content.get("schema") != SCHEMA or not isinstance(groups, dict) or not all(map(_is_whole, groups.values())):
        raise InputError(
            f"{path} holds no groups of schema {SCHEMA}, each with kind, metric and rows that have an error or a quality, "
            "size_bytes and p50_ms; run benchmarks/tasks_and_peers.py again."
        )
    blocks = [text for group in groups.values() for text in _group(group)]
    return "\n\n".join(blocks) or NOTHING


def _is_whole(group: Any) -> bool:
    if not isinstance(group, dict) or not isinstance(group.get("kind"), str) or not isinstance(group.get("metric"), str):
        return False
    rows = group.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows) or "error" in rows[0]:
        return False
    return all("error" in row or _is_measured(row, group["metric"]) for row in rows)


def _is_measured(row: Mapping[str, Any], metric: str) -> bool:
    numbers = (row.get("p50_ms"), row.get("size_bytes"))
    has_quality = finite(part(part(row, "quality"), "metrics").get(metric)) is not None
    return has_quality and all((finite(value) or 0) > 0 for value in numbers)


def _group(group: Mapping[str, Any]) -> Sequence[str]:
    rows, metric = group["rows"], group["metric"]
    has_tools = any("tool_p50_ms" in row for row in rows)
    head = [
        "model",
        "made by",
        "file",
        f"{metric}, % (95 %)",
        "drop, points (95 %)",
        "MB",
        "p50, ms",
        "speed-up",
        *(["through its tool, ms"] if has_tools else []),
    ]
    lines = [_cells(row, metric, has_tools=has_tools, is_baseline=row is rows[0]) for row in rows]
    return [f"### {group['kind'].capitalize()}", record.markdown_table(head, lines), _origin(group)]


def _cells(row: Mapping[str, Any], metric: str, *, has_tools: bool, is_baseline: bool) -> list[str]:
    names = [str(row.get(key, MISSING)) for key in ("model", "who", "name")]
    if "error" in row:
        return [*names[:2], f"{names[2]}: not made, {row['error']}", *[MISSING] * (6 if has_tools else 5)]
    quality = part(row, "quality")
    drop = part(quality, "drop")
    return [
        *names,
        _with_ends(part(quality, "metrics").get(metric), part(quality, "metrics_ci95").get(metric)),
        MISSING if is_baseline else _with_ends(drop.get("value"), drop.get("ci95")),
        record.number(row["size_bytes"] / 1e6, 1),
        record.milliseconds(row["p50_ms"]).removesuffix(" ms"),
        record.times(row.get("speedup")),
        *([record.milliseconds(row.get("tool_p50_ms")).removesuffix(" ms")] if has_tools else []),
    ]


def _with_ends(value: Any, ends: Any) -> str:
    pair = interval(ends)
    return record.points(value) + (f" ({record.points(pair[0])} to {record.points(pair[1])})" if pair else "")


def _origin(group: Mapping[str, Any]) -> str:
    rounds = group.get("rounds")
    return record.markdown_text(
        f"{group.get('examples')} examples of {group.get('data')}; teacher and student of {group.get('recipe')}. Medians of "
        f"{rounds} round{'' if rounds == 1 else 's'} in turn, fresh processes, {group.get('batch')} x {group.get('length')} "
        f"tokens, {group.get('threads')} thread, on {part(group, 'machine').get('cpu')}."
    )
