"""Write a report anew, or a README's tables: the command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import log, record
from compress.cli.options import AsJson, Debug, Quiet
from compress.cli.printing import print_json, say
from compress.errors import InputError

EXAMPLE = "bert-compress report runs/sst2_three_layers_int8"
RUN_JSON, DETAILS_JSON = "run.json", "details.json"


def report(
    folder: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    readme: Annotated[Path | None, typer.Option(help="Bring the tables and figures of this file up to date.")] = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Write report.html anew from a run folder's run.json, or refresh a README's tables."""
    log.configure(quiet, debug)
    if readme is not None and folder is None:
        from compress.measure.pages import refresh_tables

        told = {"readme": str(readme), "changed": refresh_tables(readme)}
        print_json(told) if as_json else say(f"{'refreshed' if told['changed'] else 'up to date'}: {readme}")
        return
    if folder is None or readme is not None:
        raise InputError("report needs one of the two: a run folder, or --readme with a file whose tables are refreshed.")
    from compress.live import run_text
    from compress.measure.report import write_report
    from compress.measure.subjects import read_json

    if not (folder / RUN_JSON).is_file():
        raise InputError(f"{folder} has no {RUN_JSON}; give the folder of a finished run, such as runs/NAME.")
    found = read_json(folder / RUN_JSON)
    details = folder / DETAILS_JSON
    path = write_report(found, folder, read_json(details) if details.is_file() else None)
    if as_json:
        print_json({"report": str(path), "subjects": record.subjects_of(found)})
        return
    say(f"{run_text(found)}\nreport: {path}")
