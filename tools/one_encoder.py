"""Lay out what one file of ten tasks is beside ten files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress import record
from compress.record import finite
from tools.families import machine_of, read_whole

HEAD = [
    "target",
    "file of one task",
    "of all",
    "times as large",
    "files of ten",
    "memory with one task's open",
    "that of all",
    "those of ten",
    "largest difference",
    "other labels",
]


def one_encoder_block(path: Path) -> str:
    """Lay out a result of benchmarks/one_encoder.py: a row for each target.

    Args:
        path: {schema: 1, files: {target: {together_bytes, alone_bytes, of_one, memory_bytes: {one, together, alone}, tasks:
            {name: {texts, max_abs_difference, other_labels}}}}, model, rows, seed, data, machine}.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_whole(path, "files", _is_told, "; run benchmarks/one_encoder.py again")
    lines = [_row(target, measured) for target, measured in content["files"].items()]
    tasks = next(iter(content["files"].values()))["tasks"]
    origin = (
        f"{content.get('model')} with adapters of size {content['how']['train']['adapters']['size']}, {content.get('rows'):,} "
        f"rows of each of {', '.join(tasks)}, seed {content.get('seed')}, on {machine_of(content)}. {content.get('data')}."
    )
    return f"{record.markdown_table(HEAD, lines)}\n\n{record.markdown_text(origin)}"


def _is_told(measured: Any) -> bool:
    return (
        isinstance(measured, dict) and finite(measured.get("of_one")) is not None and isinstance(measured.get("tasks"), dict)
    )


def _row(target: str, measured: dict[str, Any]) -> list[str]:
    memory, tasks = measured["memory_bytes"], measured["tasks"].values()
    texts, others = (sum(task[key] for task in tasks) for key in ("texts", "other_labels"))
    return [
        target,
        record.megabytes(measured["alone_bytes"][0]),
        record.megabytes(measured["together_bytes"]),
        record.number(measured["of_one"], 2),
        record.megabytes(sum(measured["alone_bytes"])),
        *(record.megabytes(memory[key]) for key in ("one", "together", "alone")),
        record.scientific(max(task["max_abs_difference"] for task in tasks)),
        f"{others} of {texts:,}",
    ]
