"""Look at the loss around models and between them: the command `landscape`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.options import (
    LARGEST_SEED,
    PATH,
    AsJson,
    DataFolder,
    Debug,
    Quiet,
    data_folder,
    named,
    whole_number,
)
from compress.cli.printing import kept_from_stdout, print_json, say

EXAMPLE = "bert-compress landscape runs/demo --out landscapes/demo"


def landscape(
    models: Annotated[
        list[str],
        typer.Argument(parser=named, metavar="MODELS", help="Folders, package:NAME, hub names; a run is its steps' models."),
    ],
    out: Annotated[Path, typer.Option(**PATH, help="Where landscape.json and the figures go.")],
    task_of: Annotated[
        str | None,
        typer.Option(parser=named, metavar="PATH", help="A recipe or a run, for the task; the models' own if left out."),
    ] = None,
    data_dir: DataFolder = None,
    examples: Annotated[str, typer.Option(metavar="NUMBER", help="Of the sample.")] = "256",
    part: Annotated[str, typer.Option(help="What the sample is drawn from: train or selection.")] = "train",
    points: Annotated[str, typer.Option(metavar="NUMBER", help="Of each line.")] = "21",
    radius: Annotated[float, typer.Option(help="Of the largest random step, as a part of each filter's length.")] = 0.5,
    directions: Annotated[str, typer.Option(metavar="NUMBER", help="Random steps around each model.")] = "8",
    probes: Annotated[str, typer.Option(metavar="NUMBER", help="Random signs for the trace of the Hessian.")] = "8",
    plane: Annotated[bool, typer.Option("--plane", help="The plane through three models, or along more of them.")] = False,
    around: Annotated[bool, typer.Option("--around", help="A plane of random directions around each model.")] = False,
    plane_points: Annotated[str, typer.Option(metavar="NUMBER", help="Along each side of a plane.")] = "11",
    seed: Annotated[str, typer.Option(metavar="NUMBER", help="Of the sample and of all directions.")] = "13",
    cache: Annotated[Path | None, typer.Option(**PATH, help="Where numbers are kept; .cache beside --out.")] = None,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Write landscape.json alone.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at the loss around models and between them, and how sharp it is where each stands."""
    log.configure(quiet, debug)
    from compress import tasks
    from compress.landscapes import landscape as chart
    from compress.landscapes.inputs import models_named, plan_of
    from compress.live import MEASURE, LiveView, Stage

    numbers = {
        "examples": whole_number("--examples", examples, 1, chart.MOST_EXAMPLES),
        "points": whole_number("--points", points, 2, chart.MOST_POINTS),
        "directions": whole_number("--directions", directions, 1, chart.MOST_DRAWS),
        "probes": whole_number("--probes", probes, 1, chart.MOST_DRAWS),
        "plane_points": whole_number("--plane-points", plane_points, 2, chart.MOST_PLANE_POINTS),
        "seed": whole_number("--seed", seed, 0, LARGEST_SEED),
    }
    chart.check_writable(out, not no_figures)
    source, plan = data_folder(data_dir), plan_of(task_of, models)
    with LiveView("landscape", [Stage(MEASURE, tells=True)], quiet=quiet) as view, kept_from_stdout(sys.stderr):

        def progress(what: str, done: int, total: int, **facts: float) -> None:
            view(f"{MEASURE}: {what}", done, total, **facts)

        task = tasks.task(**plan.task | ({} if source is None else {"data_dir": source}))
        record = chart.landscape(
            models_named(models, plan, task),
            task=task,
            part=part,  # type: ignore[arg-type]
            radius=radius,
            plane=plane,
            around=around,
            out=out,
            cache=cache,
            figures=not no_figures,
            progress=progress,
            **numbers,
        )
    if as_json:
        print_json({"path": str(out / chart.LANDSCAPE), **record})
        return
    say("\n".join([*record["answer"], f"written: {out / chart.LANDSCAPE}"]))
