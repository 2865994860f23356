"""List what a recipe may name: the command `list`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from compress import log
from compress.cli.layout import table_text
from compress.cli.options import AsJson, Debug, Quiet
from compress.cli.printing import print_json, say
from compress.errors import InputError, shown

EXAMPLE = "bert-compress list methods"

READ_BY = {"tasks": ("columns", "formats")}
"""What is told besides of the entries of a table."""


def list_entries(
    kind: Annotated[
        str | None, typer.Argument(help="methods, objectives, targets, tasks or runtimes; all if left out.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List what a recipe may name, and where it is from."""
    log.configure(quiet, debug)
    from compress.methods import METHODS
    from compress.objectives import OBJECTIVES
    from compress.recipe import summaries
    from compress.runtimes.table import RUNTIMES
    from compress.targets import TARGETS
    from compress.tasks import TASKS

    tables = {"methods": METHODS, "objectives": OBJECTIVES, "targets": TARGETS, "tasks": TASKS, "runtimes": RUNTIMES}
    if kind is not None and kind not in tables:
        raise InputError(f"{shown(kind)} cannot be listed; allowed: {', '.join(tables)}. Leave it out to list all.")
    sections = {name: summaries(table) for name, table in tables.items() if kind in (None, name)}
    more = READ_BY.get(kind or "", ())  # of one table alone: kinds of tasks are imported for it, which takes a second
    if as_json:
        print_json(
            {name: [asdict(entry) | _read_by(more, entry.name) for entry in entries] for name, entries in sections.items()}
        )
        return
    for name, entries in sections.items():
        rows = [(entry.name, entry.summary, *_read_by(more, entry.name).values(), entry.source) for entry in entries]
        say(table_text((name, "what it does", *more, "source"), rows, numbers=False) + "\n")


def _read_by(columns: Sequence[str], name: str) -> dict[str, str]:
    """What a kind of task reads; nothing of other entries."""
    if not columns:
        return {}
    from compress.tasks.data.files import FORMATS
    from compress.tasks.kind import load_kind

    kind = load_kind(name)
    return dict(zip(columns, (kind.columns, " ".join(dict.fromkeys((*FORMATS, *kind.readers)))), strict=True))
