"""The same plan with several seeds, and the one way in which results enter the repository."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.errors import InputError
from compress.marks import read_own
from compress.pipeline.cache import cache_folder
from compress.pipeline.measuring import write_json
from compress.pipeline.options import RunOptions
from compress.pipeline.run_files import SCHEMA
from compress.pipeline.running import run, run_folder
from compress.recipe.checking import LARGEST_SEED
from compress.recipe.plan import Plan
from compress.reporting.reading import SEED_FOLDER

logger = logging.getLogger(__name__)

SEED = "seed"
"""Told as progress when the run of another seed begins."""
RECIPES, RESULTS = "recipes", "results"


def run_seeds(plan: Plan, seeds: Sequence[int], options: RunOptions | None = None) -> list[dict[str, Any]]:
    """Run a plan once per seed, each in `<out>/seed-<n>`, all with one cache.

    Returns:
        The run.json of each.

    Raises:
        InputError: A seed stands there twice or is too large, or none is given.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {', '.join(map(str, seeds)) or 'empty'}; give at least one, each once, such as 1,2,3.")
    wrong = [seed for seed in seeds if not 0 <= seed <= LARGEST_SEED]
    if wrong:
        raise InputError(f"seeds are {', '.join(map(str, seeds))}, but {wrong[0]} is none; use 0 to {LARGEST_SEED}.")
    options = options or RunOptions()
    out = run_folder(plan, options.out, options.tiny)
    cache = cache_folder(options.cache, out)
    records = []
    for number, seed in enumerate(seeds):
        logger.info("seed %d starts", seed)
        options.progress(SEED, number, len(seeds))
        copy_to = options.copy_to and f"{options.copy_to.rstrip('/')}/{SEED_FOLDER}{seed}"
        around = replace(options, out=out / f"{SEED_FOLDER}{seed}", cache=cache, copy_to=copy_to)
        records.append(run(replace(plan, seed=seed), around))
    return records


def results_path(plan: Plan) -> Path:
    """Where the results of a recipe are kept: recipes/results/<path of the recipe>.json.

    Raises:
        InputError: The recipe does not lie in a folder called recipes, something else than results has that name, or results
            cannot be written there.
    """
    path = plan.path.resolve() if plan.path else None
    roots = [parent for parent in path.parents if parent.name == RECIPES] if path else []
    if path is None or not roots:
        raise InputError(f"--record is for recipes in a folder called {RECIPES}; {path or 'this one'} is not. Move it there.")
    results = roots[-1] / RESULTS / path.relative_to(roots[-1]).with_suffix(".json")
    place = next(parent for parent in results.parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InputError(f"--record writes {results}, but {place} is no place to write it to; free it, or leave --record out.")
    if os.path.lexists(results) and not _holds_results(results):
        raise InputError(
            f"--record would write over {results}, which holds no results of ours; move it away, or rename the recipe."
        )
    return results


def _holds_results(path: Path) -> bool:
    results = read_own(path)
    runs = results.get("runs") if results is not None and results.get("schema") == SCHEMA else None
    return isinstance(runs, list) and all(isinstance(entry, dict) and "recipe" in entry for entry in runs)


def write_results(plan: Plan, records: Sequence[dict[str, Any]]) -> Path:
    """Write {schema, runs} to where the recipe's results are kept, and say where."""
    path = results_path(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, "runs": list(records)})
    return path
