"""Write a report anew: the command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import log, record
from compress.cli.options import PATH, AsJson, Debug, Quiet, path_named
from compress.cli.printing import print_json, say
from compress.cli.results import run_text
from compress.errors import InputError, shown
from compress.marks import make_way, note_written

EXAMPLE = "bert-compress report runs/sst2_three_layers_int8"
REPORT_HTML = "report.html"
SIGN = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What our reports have near their beginning, those of earlier versions too."""


def report(
    folder: Annotated[Path | None, typer.Argument(parser=path_named, metavar="FOLDER", help="A run folder.")] = None,
    readme: Annotated[Path | None, typer.Option(**PATH, hidden=True)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write report.html anew from a run folder's run.json."""
    log.configure(quiet, debug)
    if readme is not None:
        raise InputError(
            f"--readme {shown(str(readme))} is no longer an option of report; in a checkout of the repository, "
            f"python -m tools.docs {readme} refreshes the tables and figures of a page."
        )
    if folder is None:
        raise InputError("report needs a run folder; give one, as in bert-compress report runs/quickstart.")
    from compress.reporting.reading import RUN_JSON, read_details, read_run
    from compress.reporting.report import write_report

    run, details = read_run(folder), read_details(folder)
    if run.get("schema") != 1 or not isinstance(run.get("subjects"), list):
        raise InputError(f"{folder / RUN_JSON} is no record of a run of ours; give the folder of a finished run.")
    make_way(folder, REPORT_HTML, SIGN)
    path = write_report(run, folder, details)
    note_written(folder, REPORT_HTML)
    if as_json:
        print_json({"report": str(path), "subjects": record.subjects_of(run)})
        return
    say(f"{run_text(run)}\nreport: {path}")
