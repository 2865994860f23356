"""Find the file that keeps given limits: the command `auto`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.options import (
    LONGEST,
    PATH,
    AsJson,
    Data,
    DataFolder,
    Debug,
    Label,
    MaxLength,
    Pair,
    Quiet,
    Text,
    columns_of,
    data_folder,
    named,
    whole_number,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.errors import GateMissed, InputError, shown
from compress.tasks import TASKS, kind_named
from compress.tasks.data.files import is_data_file

EXAMPLE = "bert-compress auto --model google-bert/bert-base-uncased --data reviews.tsv --max-drop 0.01 --speedup 10"


def auto(
    model: Annotated[str, typer.Option(parser=named, metavar="MODEL", help="A folder, package:NAME or a hub name.")],
    data: Data,
    validation: Annotated[
        str | None, typer.Option(parser=named, metavar="FILE", help="To measure on in the end; else a fifth of --data.")
    ] = None,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    data_dir: DataFolder = None,
    kind: Annotated[str | None, typer.Option(help="The kind of task; if left out, by the model's head or the data.")] = None,
    max_length: MaxLength = None,
    max_drop: Annotated[float, typer.Option(help="Of the metric, that may be lost against the teacher.")] = 0.01,
    p50_ms: Annotated[float | None, typer.Option("--p50-ms", help="Median latency, batch 1, one thread.")] = None,
    p95_ms: Annotated[float | None, typer.Option("--p95-ms", help="95th percentile of the latency.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Times faster than the teacher in torch.")] = None,
    max_mb: Annotated[float | None, typer.Option("--max-mb", help="Size of the file, in megabytes.")] = None,
    gate: Annotated[list[str] | None, typer.Option(metavar="GATE", help="recall.EMAIL=0.98; may be repeated.")] = None,
    hours: Annotated[float, typer.Option(help="To spend; by at most one trial more.")] = 2.0,
    target: Annotated[str, typer.Option(help="What is shipped; see bert-compress list targets.")] = "onnxruntime-cpu-int8",
    length: Annotated[str | None, typer.Option(metavar="TOKENS", help="Tokens that are timed; the data's median.")] = None,
    out: Annotated[Path | None, typer.Option(**PATH, help="A folder of its own; runs/auto if left out.")] = None,
    cache: Annotated[Path | None, typer.Option(**PATH, help="Where finished steps are; .cache in --out.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    new_head: Annotated[bool, typer.Option("--new-head", help="Train the model first, whatever its head was for.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say in five sentences why this one.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find the fastest file that keeps the limits: try, measure, and leave the recipe that makes it."""
    log.configure(quiet, debug)
    columns = columns_of(data, text, pair, label)
    source = data_folder(data_dir)
    numbers = {
        name: whole_number(option, given, 4, LONGEST)
        for name, option, given in (("max_length", "--max-length", max_length), ("length", "--length", length))
        if given is not None
    }
    from compress.search.auto import auto as search
    from compress.search.goals import Goals, recall_gates
    from compress.search.telling import missed_words

    goals = Goals(max_drop, p50_ms, p95_ms, speedup, max_mb, recall_gates(tuple(gate or ())))
    local = Path(model).expanduser()
    model = str(local.absolute()) if local.is_dir() else model  # so that the recipe runs from anywhere
    rows = _rows(data, validation, columns, source)
    extra: dict[str, Any] = {} if source is None else {"data_dir": str(Path(source).expanduser().absolute())}
    with kept_from_stdout(sys.stderr):
        done = search(
            model,
            rows,
            out=out or Path("runs") / "auto",
            goals=goals,
            hours=hours,
            target=target,
            cache=cache,
            device=device,
            new_head=new_head,
            kind=_kind(kind, model, data),
            **extra,
            **numbers,
        )
    if as_json:
        print_json(done.record)
    else:
        say(done.explanation if explain or not done.meets else done.explanation.partition(". On the")[0] + ".")
        say(f"recipe: {done.folder / 'recipe.yaml'}\nreport: {done.folder / 'report.html'}")
    if not done.meets:
        from compress.search.goals import outcome_of

        sys.stderr.write(f"goals not met: {missed_words(goals, outcome_of(done.record['winner']))}\n")
        raise typer.Exit(GateMissed.exit_code)


def _rows(data: str, validation: str | None, columns: dict[str, Any], source: str | None) -> str | dict[str, Any]:
    """The data as a recipe has it; files by whole paths, so that the recipe runs from anywhere."""
    if not is_data_file(data):
        if validation is not None:
            raise InputError(f"--validation {shown(validation)} goes with a file, but --data {shown(data)} is none.")
        return data
    files = {"train": data} if validation is None else {"train": data, "validation": validation}
    whole = files if source else {role: str(Path(path).expanduser().absolute()) for role, path in files.items()}
    return {**whole, **{name: list(value) if isinstance(value, tuple) else value for name, value in columns.items()}}


def _kind(given: str | None, model: str, data: str) -> str:
    """The kind of task: as given, else of the model's trained head, else the one that knows the data set.

    Raises:
        InputError: It is unknown, or nothing is certain.
    """
    if given is not None:
        if kind_named(given) not in TASKS:
            raise InputError(f"--kind {shown(given)} is unknown; allowed: {', '.join(TASKS)}.")
        return kind_named(given)
    from compress.models.checkpoint.loading import load
    from compress.models.heads import head_of
    from compress.tasks.kind import kind_for, load_kind

    loaded = load(model)
    head = head_of(loaded)
    if not loaded.has_new_head and not head.of_pieces and not (head.gives_vectors and not is_data_file(data)):
        return kind_for(head)
    knowing = [name for name in TASKS if data in load_kind(name).known]
    if len(knowing) == 1:
        return knowing[0]
    why = f"{', '.join(knowing)} all know {shown(data)}" if knowing else "the model has no head that was trained for a task"
    raise InputError(f"the kind of task is not certain ({why}); add --kind, one of {', '.join(knowing or TASKS)}.")
