"""Run many trials of one recipe: the command `sweep`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.layout import table_text
from compress.cli.options import PATH, AsJson, Debug, Overrides, Quiet, path_named, whole_number
from compress.cli.printing import kept_from_stdout, print_json, say

EXAMPLE = "bert-compress sweep sweeps/sst2_three_layers.yaml --workers 2"


def sweep(
    file: Annotated[
        Path,
        typer.Argument(parser=path_named, metavar="SWEEP", help="A recipe with a section `sweep`, see docs/guides/sweep.md."),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(**PATH, help="The sweep's folder; if left out, runs/sweeps/NAME.")] = None,
    cache: Annotated[Path | None, typer.Option(**PATH, help="Where finished steps are; .cache beside the folder.")] = None,
    workers: Annotated[str, typer.Option(metavar="NUMBER", help="Processes; where times are objectives, use one.")] = "1",
    tiny: Annotated[bool, typer.Option("--tiny", help="A random model and a few steps: does the sweep run at all?")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Judge those on the front on the evaluation part in the end, once each.")
    ] = False,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw none.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run many trials of one recipe and show the best; started again, it goes on, and started twice, both work on it."""
    log.configure(quiet, debug)
    from compress.search.sweep import MOST_WORKERS, RECORD
    from compress.search.sweep import sweep as run_sweep
    from compress.search.trial import Trial

    number = whole_number("--workers", workers, 1, MOST_WORKERS)

    def progress(number: int, trial: Trial) -> None:
        if not quiet:
            quality = "" if trial.quality is None else f", {trial.metric} {trial.quality:.4g}"
            sys.stderr.write(f"trial {number}: {trial.status}{quality}{trial.error and ': '}{trial.error}\n")

    with kept_from_stdout(sys.stderr):
        record = run_sweep(
            file,
            out=out,
            cache=cache,
            overrides=overrides or [],
            workers=number,
            device=device,
            tiny=tiny,
            evaluate=evaluate,
            figures=not no_figures,
            progress=progress,
        )
    folder = Path(record["folder"])
    if as_json:
        print_json({"path": str(folder / RECORD), **record})
        return
    say(f"{front_text(record)}\nwritten: {folder / RECORD}")


def front_text(record: Mapping[str, Any]) -> str:
    """The front as a table, and how many trials it is of."""
    failed = sum(trial["values"] is None for trial in record["trials"])
    judged = {trial["number"]: trial for trial in record["evaluation"]}
    names, keys = list(record["objectives"]), list(record["space"])
    head, rows = ["trial", *names, *(["evaluated"] if judged else []), *keys], []
    for trial in record["trials"]:
        if trial["number"] in record["front"]:
            quality = judged.get(trial["number"], {}).get("quality")
            evaluated = [_number(quality)] if judged else []
            values = [_number(trial["values"][name]) for name in names]
            rows.append([str(trial["number"]), *values, *evaluated, *(_number(trial["overrides"][key]) for key in keys)])
    count = len(record["trials"])
    why = "" if record["ended"] == "trials" else f"; the budget of {record['ended']} is spent"
    return f"{table_text(head, rows)}\n{count} trials, {failed} of them failed{why}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
