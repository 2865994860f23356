"""Write a report of one run anew, or of several beside each other: the command `report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log, record
from compress.cli.options import PATH, AsJson, Debug, Quiet, path_named
from compress.cli.printing import print_json, say
from compress.cli.results import run_text
from compress.errors import InputError, shown
from compress.marks import make_way, note_written

EXAMPLE = "bert-compress report runs/sst2_three_layers_int8 runs/sst2_tinybert --out report.html"
REPORT_HTML = "report.html"
SIGN = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What our reports have near their beginning, those of earlier versions too."""
BEGINNING = 4096
"""The characters in which it stands."""


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(parser=path_named, metavar="RUN", help="Run folders, or recorded results of one task."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", **PATH, help="The file to write; one run folder has its own report.html.")
    ] = None,
    readme: Annotated[Path | None, typer.Option(**PATH, hidden=True)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a report of a run anew, or one of several runs beside each other."""
    log.configure(quiet, debug)
    if readme is not None:
        raise InputError(
            f"--readme {shown(str(readme))} is no longer an option of report; in a checkout of the repository, "
            f"python -m tools.docs {readme} refreshes the tables and figures of a page."
        )
    if not runs:
        raise InputError("report needs a run folder; give one, as in bert-compress report runs/quickstart.")
    if out is not None:
        _write_beside(runs, out, as_json)
    elif len(runs) == 1 and not runs[0].is_file():
        _write_anew(runs[0], as_json)
    else:
        raise InputError(
            f"a report of {'recorded results' if len(runs) == 1 else f'{len(runs)} runs'} needs the name of a file; add --out "
            "report.html."
        )


def _write_anew(folder: Path, as_json: bool) -> None:
    """Write the run folder's own report."""
    from compress.reporting.reading import RUN_JSON, read_details, read_run
    from compress.reporting.report import write_report

    run, details = read_run(folder), read_details(folder)
    _check_ours(run, folder / RUN_JSON)
    make_way(folder, REPORT_HTML, SIGN)
    path = write_report(run, folder, details)
    note_written(folder, REPORT_HTML)
    if as_json:
        print_json({"report": str(path), "subjects": record.subjects_of(run)})
        return
    say(f"{run_text(run)}\nreport: {path}")


def _write_beside(paths: list[Path], out: Path, as_json: bool) -> None:
    """Write a page of all the runs to a file of its own."""
    from compress.reporting.report import render_page
    from compress.reporting.side_by_side import runs_to_show

    _check_out(out)
    shown_runs = runs_to_show(paths)
    for entry in shown_runs:
        _check_ours(entry.run, entry.name)
    record.write_whole(out, render_page(shown_runs))
    if as_json:
        entries = [{"name": entry.name, "subjects": record.subjects_of(entry.run)} for entry in shown_runs]
        print_json({"report": str(out), "runs": entries})
        return
    for entry in shown_runs:
        say(f"{entry.name}\n{run_text(entry.run)}\n")
    say(f"report: {out}")


def _check_ours(run: Mapping[str, Any], where: Path | str) -> None:
    if run.get("schema") != 1 or not isinstance(run.get("subjects"), list):
        raise InputError(f"{where} is no record of a run of ours; give the folder of a finished run.")


def _check_out(out: Path) -> None:
    """Refuse what cannot be written, or is anyone else's."""
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file in it, such as {out / REPORT_HTML}.")
    if not out.parent.is_dir():
        raise InputError(f"--out {out} lies in no folder that there is; make {out.parent}, or name another file.")
    if out.is_file() and SIGN not in out.read_text(encoding="utf-8", errors="replace")[:BEGINNING]:
        raise InputError(f"--out {out} is there and is no report of ours; remove it, or name another file.")
