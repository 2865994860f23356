"""Run a recipe: the command `run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.options import (
    LARGEST_SEED,
    PLACE,
    AsJson,
    Debug,
    Overrides,
    Quiet,
    Recipe,
    path_and_address,
    whole_numbers,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import run_text
from compress.errors import GateMissed, InputError

EXAMPLE = "bert-compress run recipes/sst2/three_layers_int8.yaml steps.distill.epochs=1"
REPORT = "report.html"


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Annotated[
        Any, typer.Option(**PLACE, help="The run folder, runs/NAME or runs/NAME-tiny; or an address for a copy of that.")
    ] = None,
    cache: Annotated[
        Any, typer.Option(**PLACE, help="Where finished steps are, .cache beside the run folder; or an address behind that.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A random model and a few steps: does the recipe run at all?")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seeds: Annotated[str | None, typer.Option(metavar="NUMBERS", help="Run once for each seed: 1,2,3.")] = None,
    keep: Annotated[bool, typer.Option("--record", help="Write the results to recipes/results.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over a folder that is not ours; what it holds stays.")] = False,
    log_with: Annotated[list[str] | None, typer.Option(help="A tracker that accelerate knows, such as tensorboard.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a recipe: change, export, measure. What was made before is taken from the cache."""
    log.configure(quiet, debug)
    from compress.recipe import read_recipe

    numbers = [] if seeds is None else whole_numbers("--seeds", seeds, 0, LARGEST_SEED)
    if keep and tiny:
        raise InputError("--record and --tiny were both given, but a tiny run has no results worth keeping; leave one out.")
    plan = read_recipe(recipe, overrides or [])
    from compress import pipeline
    from compress.live import LiveView, stages_of

    if keep:
        pipeline.results_path(plan)
    (folder, copy_to), (cache_folder, shared_cache) = path_and_address(out), path_and_address(cache)
    folder = pipeline.run_folder(plan, folder, tiny)
    with LiveView(plan.name, stages_of(plan), quiet=quiet) as view, kept_from_stdout(sys.stderr):
        options = pipeline.RunOptions(
            out=folder,
            cache=cache_folder,
            shared_cache=shared_cache,
            copy_to=copy_to,
            device=device,
            tiny=tiny,
            progress=view,
            log_with=tuple(log_with or ()),
            force=force,
        )
        records = pipeline.run_seeds(plan, numbers, options) if numbers else [pipeline.run(plan, options)]
    if not all(records):  # under accelerate, a process that is not the first
        return
    written = pipeline.write_results(plan, records) if keep else None
    if written and not as_json:
        say(f"results: {written}")
    result = {"schema": 1, "runs": records} if numbers else records[0]
    _close_run(records, [folder / f"seed-{number}" for number in numbers] or [folder], result if as_json else None)


def _close_run(records: list[dict[str, Any]], folders: list[Path], result: dict[str, Any] | None) -> None:
    """Print the result as JSON, or the table of each run and where its report is; then judge the gates."""
    from compress import pipeline

    missed: list[str] = []
    for record, folder in zip(records, folders, strict=True):
        try:
            pipeline.raise_for_gates(record)
        except GateMissed as err:
            missed.append(str(err) if len(records) == 1 else f"{folder.name}: {err}")
        if result is None:
            say(f"{run_text(record)}\nreport: {folder / REPORT}")
    error = {"error": "\n".join(missed), "exit_code": GateMissed.exit_code} if missed else {}
    if result is not None:
        print_json(result | error)
    if missed:
        sys.stderr.write(f"{error['error']}\n")
        raise typer.Exit(GateMissed.exit_code)
