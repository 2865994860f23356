"""Lay out what stands around MiniLM on SST-2, and what becomes of the papers' claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress import record
from compress.landscapes.figure import draw_lines, draw_rises
from compress.landscapes.words import estimated, number
from compress.record import MISSING, finite
from tools.families import machine_of, read_whole

HEAD = ["seed", "model", "selection accuracy, %", "loss", "rise", "trace of the Hessian"]
VERDICTS = {True: "yes", False: "no", None: "not told apart"}


def landscapes_block(path: Path) -> str:
    """Lay out a result of benchmarks/landscapes.py: a row for each model of each seed, and one for each claim.

    Args:
        path: {schema: 1, seeds: {seed: {landscapes: {name: {models, ...}}, selection_accuracy, claims}}, rows, examples, how,
            model, data, machine}.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_whole(path, "seeds", _is_told, "; run benchmarks/landscapes.py again")
    seeds = content["seeds"]
    models = [row for seed, measured in seeds.items() for row in _rows(seed, measured)]
    claims = list(dict.fromkeys(claim for measured in seeds.values() for claim in measured["claims"]))
    verdicts = [[claim, *(VERDICTS[measured["claims"].get(claim)] for measured in seeds.values())] for claim in claims]
    how = content["how"]["landscape"]
    origin = (
        f"{content.get('model')}, {content.get('rows'):,} rows, a sample of {content.get('examples')} training rows; rises "
        f"at a radius of {how['radius']:.0%} of each filter's length over {how['directions']} directions, traces over "
        f"{how['probes']} probes, \u00b1 one standard error; on {machine_of(content)}. {content.get('data')}."
    )
    tables = (
        record.markdown_table(HEAD, models),
        record.markdown_table(["claim", *(f"seed {seed}" for seed in seeds)], verdicts),
        record.markdown_text(origin),
    )
    return "\n\n".join(tables)


def landscapes_figures(path: Path) -> dict[str, str]:
    """Draw the lines of both starts and the rises of what is compressed, of the first seed, by the names of their files."""
    content = read_whole(path, "seeds", _is_told, "; run benchmarks/landscapes.py again")
    shown = next(iter(content["seeds"].values()))["landscapes"]
    figures = {
        f"{path.stem}_{name}_lines.svg": draw_lines(around["lines"])
        for name, around in shown.items()
        if len(around["models"]) == 2
    }
    rises = {
        f"{path.stem}_{name}_rise.svg": draw_rises(around["models"])
        for name, around in shown.items()
        if len(around["models"]) > 2
    }
    return figures | rises


def _is_told(measured: Any) -> bool:
    landscapes = measured.get("landscapes") if isinstance(measured, dict) else None
    return (
        isinstance(landscapes, dict)
        and isinstance(measured.get("claims"), dict)
        and all(
            finite(entry.get("loss")) is not None for surroundings in landscapes.values() for entry in surroundings["models"]
        )
    )


def _rows(seed: str, measured: dict[str, Any]) -> list[list[str]]:
    """Each model once, though several landscapes show it."""
    entries = {entry["name"]: entry for shown in measured["landscapes"].values() for entry in shown["models"]}
    return [
        [
            seed,
            name,
            record.points(measured["selection_accuracy"].get(name)),
            number(entry["loss"]),
            estimated(entry["rise"]),
            MISSING if entry["trace"] is None else estimated(entry["trace"]),
        ]
        for name, entry in entries.items()
    ]
