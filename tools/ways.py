"""Lay out what the ways to fine-tune keep and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress import record
from compress.record import MISSING, finite
from tools.families import machine_of, read_whole

HEAD = [
    "set",
    "what learns",
    "score, %",
    "95 % interval",
    "seeds",
    "weights that learn",
    "s an epoch",
    "s besides",
    "kB alone",
]


def ways_block(path: Path) -> str:
    """Lay out a result of benchmarks/ways_to_fine_tune.py: a row for each way, set after set.

    Args:
        path: {schema: 1, sets: {name: {ways: {way: {metric, mean, scores, interval, epoch_seconds, other_seconds, learned, of,
            alone_bytes}}}}, model, machine}.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_whole(path, "sets", _is_told, "; run benchmarks/ways_to_fine_tune.py again")
    sets = content["sets"]
    lines = [_row(name, way, measured) for name, known in sets.items() for way, measured in known["ways"].items()]
    origin = f"{content.get('model')}; scores are means over seeds, intervals of the first, on {machine_of(content)}."
    sources = [str(known.get("data")) for known in sets.values()]
    return f"{record.markdown_table(HEAD, lines)}\n\n{record.markdown_text(' '.join([origin, '; '.join(sources)]))}."


def _is_told(known: Any) -> bool:
    ways = known.get("ways") if isinstance(known, dict) else None
    return isinstance(ways, dict) and all(
        isinstance(measured, dict) and finite(measured.get("mean")) is not None for measured in ways.values()
    )


def _row(name: str, way: str, measured: dict[str, Any]) -> list[str]:
    low, high = measured.get("interval") or (None, None)
    alone = measured.get("alone_bytes")
    return [
        f"{name} ({measured.get('metric')})",
        way,
        record.points(measured["mean"]),
        MISSING if low is None else f"{record.points(low)} to {record.points(high)}",
        str(len(measured.get("scores", []))),
        f"{measured['learned']:,} ({measured['learned'] / measured['of']:.1%})",
        record.number(measured["epoch_seconds"], 1),
        record.number(measured["other_seconds"], 1),
        MISSING if alone is None else record.number(alone / 1e3, 0),
    ]
