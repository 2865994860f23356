"""The commands, in the order of the help; each is a file of this folder."""

from __future__ import annotations

import typer

from compress.cli import (
    auto,
    bench,
    bundle,
    check,
    compare,
    doctor,
    evaluate,
    export,
    init,
    landscape,
    listing,
    push,
    report,
    run,
    serve,
    sweep,
)
from compress.cli.ending import Commands

COMMANDS = (
    ("init", init.init, init.EXAMPLE),
    ("run", run.run, run.EXAMPLE),
    ("auto", auto.auto, auto.EXAMPLE),
    ("sweep", sweep.sweep, sweep.EXAMPLE),
    ("check", check.check, check.EXAMPLE),
    ("list", listing.list_entries, listing.EXAMPLE),
    ("export", export.export, export.EXAMPLE),
    ("bundle", bundle.bundle, bundle.EXAMPLE),
    ("push", push.push, push.EXAMPLE),
    ("bench", bench.bench, bench.EXAMPLE),
    ("eval", evaluate.evaluate, evaluate.EXAMPLE),
    ("compare", compare.compare, compare.EXAMPLE),
    ("serve", serve.serve, serve.EXAMPLE),
    ("landscape", landscape.landscape, landscape.EXAMPLE),
    ("report", report.report, report.EXAMPLE),
    ("doctor", doctor.doctor, doctor.EXAMPLE),
)

app = typer.Typer(
    name="bert-compress",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn a BERT checkpoint and a labelled task into a small, fast, measured model.",
)
for _name, _command, _example in COMMANDS:
    app.command(_name, epilog=f"Example: {_example}")(_command)
