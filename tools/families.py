"""Lay out what stays of each family's accuracy, and the files of families' shapes beside those of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compress import record
from compress.benchmark.subjects import read_json
from compress.errors import InputError
from compress.record import MISSING, finite, part

SCHEMA = 1
FILES = ("onnxruntime-cpu-int8", "openvino-cpu-int8")
OURS = "bert-compress"


def families_block(path: Path) -> str:
    """Lay out a result of benchmarks/families_from_scratch.py: a row for each family.

    Args:
        path: {schema: 1, families: {name: {pieces, whole, half, "whole, TARGET", "half, TARGET"}}, rows, seed, machine}.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    wanted = ", each with an accuracy, whole and half; run benchmarks/families_from_scratch.py again"
    content = read_whole(path, "families", _is_told, wanted)
    families = content["families"]
    head = ["family", "accuracy, %", *(f"{file}, points" for file in FILES), "half of heads and neurons, points"]
    head += [f"and {file}, points" for file in FILES]
    lines = [
        [
            name,
            record.points(family["whole"]),
            *(_change(family.get(f"whole, {file}"), family["whole"]) for file in FILES),
            _change(family["half"], family["whole"]),
            *(_change(family.get(f"half, {file}"), family["whole"]) for file in FILES),
        ]
        for name, family in families.items()
    ]
    origin = f"SST-2, {content.get('rows'):,} sentences to learn from, seed {content.get('seed')}, on {machine_of(content)}."
    return f"{record.markdown_table(head, lines)}\n\n{record.markdown_text(origin)}"


def read_whole(path: Path, key: str, is_whole: Callable[[Any], bool], wanted: str) -> dict[str, Any]:
    """Read a result whose entries under a key all are whole.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_json(path)
    entries = content.get(key)
    if content.get("schema") != SCHEMA or not isinstance(entries, dict) or not all(map(is_whole, entries.values())):
        raise InputError(f"{path} holds no {key} of schema {SCHEMA}{wanted}.")
    return content


def _is_told(family: Any) -> bool:
    return isinstance(family, dict) and all(finite(family.get(name)) is not None for name in ("whole", "half"))


def _change(value: Any, whole: float) -> str:
    number = finite(value)
    return MISSING if number is None else record.points(number - whole)


def machine_of(content: Mapping[str, Any]) -> str:
    """The processor that a result was measured on."""
    return str(part(content, "machine").get("cpu"))


def shapes_block(path: Path) -> str:
    """Lay out a result of benchmarks/family_peers.py: a table for each family.

    Args:
        path: {schema: 1, families: {name: {rows: [{who, name, relative_error, size_bytes, latency: [{batch, length, p50_ms}]},
            or {who, name, error}]}}, model, machine}; a family's first row is the torch model.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    wanted = ", each with rows that have an error or a latency; run benchmarks/family_peers.py again"
    content = read_whole(path, "families", _is_timed, wanted)
    blocks = [text for name, family in content["families"].items() for text in (f"### {name}", _table(family["rows"]))]
    blocks.append(
        record.markdown_text(f"{content.get('model')}; one thread, fresh processes in turn, on {machine_of(content)}.")
    )
    return "\n\n".join(blocks)


def _is_timed(family: Any) -> bool:
    rows = family.get("rows") if isinstance(family, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows) or "error" in rows[0]:
        return False
    return all("error" in row or bool(row.get("latency")) for row in rows)


def _table(rows: list[dict[str, Any]]) -> str:
    shapes = [f"{entry['batch']} x {entry['length']}" for entry in rows[0]["latency"]]
    head = [
        "made by",
        "file",
        "error",
        "MB",
        *(f"{shape}, ms" for shape in shapes),
        *(f"{shape}, speed-up" for shape in shapes),
    ]
    lines = []
    for row in rows:
        if "error" in row:
            lines.append([row["who"], f"{row['name']}: not made, {row['error']}", *[MISSING] * (len(head) - 2)])
            continue
        times = [entry["p50_ms"] for entry in row["latency"]]
        base = [entry["p50_ms"] for entry in rows[0]["latency"]]
        lines.append(
            [
                row["who"],
                row["name"],
                MISSING if row is rows[0] else f"{row['relative_error']:.2g}",
                record.number(row["size_bytes"] / 1e6, 1),
                *(record.milliseconds(time).removesuffix(" ms") for time in times),
                *(record.times(own / time) for own, time in zip(base, times, strict=True)),
            ]
        )
    return record.markdown_table(head, lines)
