"""Run a recipe with --tiny and without measuring: RECIPE OUT CACHE. For tests that need a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from compress.pipeline import RunOptions, running
from compress.pipeline.measuring import json_text, made_folders
from compress.pipeline.run_files import deliver
from compress.recipe import read_recipe


def bare(execution: Any, shipped: dict[str, Path], out: Path, record: dict[str, Any], clock: float) -> dict[str, Any]:
    """End with a record of the steps alone."""
    record |= {"steps": execution.records, "gates": [], "subjects": []}
    deliver(out, made_folders(execution, shipped, out) | {"run.json": json_text(record)})
    return record


def main(recipe: str, out: str, cache: str, checkpoint_seconds: float = 0.0) -> None:
    """Run it."""
    torch.set_num_threads(1)
    running.measure_run = bare
    around = RunOptions(out=Path(out), cache=Path(cache), tiny=True, device="cpu", checkpoint_seconds=checkpoint_seconds)
    running.run(read_recipe(Path(recipe)), around)


if __name__ == "__main__":
    main(*sys.argv[1:])
