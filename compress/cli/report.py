"""Write a report anew, or a README's tables: the command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import log, record
from compress.cli.options import PATH, AsJson, Debug, Quiet, path_named
from compress.cli.printing import print_json, say
from compress.cli.results import run_text
from compress.errors import InputError
from compress.marks import make_way, note_written

EXAMPLE = "bert-compress report runs/sst2_three_layers_int8"
REPORT_HTML = "report.html"
SIGN = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What our reports have near their beginning, those of earlier versions too."""


def report(
    folder: Annotated[Path | None, typer.Argument(parser=path_named, metavar="FOLDER", help="A run folder.")] = None,
    readme: Annotated[Path | None, typer.Option(**PATH, help="Bring the tables and figures of this file up to date.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write report.html anew from a run folder's run.json, or refresh a README's tables."""
    log.configure(quiet, debug)
    if readme is not None and folder is None:
        from compress.measure.pages import refresh_tables

        told = {"readme": str(readme), "changed": refresh_tables(readme)}
        print_json(told) if as_json else say(f"{'refreshed' if told['changed'] else 'up to date'}: {readme}")
        return
    if folder is None or readme is not None:
        raise InputError("report needs one of the two: a run folder, or --readme with a file whose tables are refreshed.")
    from compress.measure.report import write_report
    from compress.measure.run_files import RUN_JSON, read_details, read_run

    found, details = read_run(folder), read_details(folder)
    if found.get("schema") != 1 or not isinstance(found.get("subjects"), list):
        raise InputError(f"{folder / RUN_JSON} is no record of a run of ours; give the folder of a finished run.")
    make_way(folder, REPORT_HTML, SIGN)
    path = write_report(found, folder, details)
    note_written(folder, REPORT_HTML)
    if as_json:
        print_json({"report": str(path), "subjects": record.subjects_of(found)})
        return
    say(f"{run_text(found)}\nreport: {path}")
