"""Measure how right a model is: the command `eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log, record
from compress.cli.options import (
    LONGEST,
    PATH,
    AllowUnknown,
    AsJson,
    Data,
    DataFolder,
    Debug,
    Label,
    MaxLength,
    Pair,
    Quiet,
    Text,
    TimeLimit,
    columns_of,
    data_folder,
    named,
    new_file,
    whole_number,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import MOST_LABELS, matrix_csv, scores_text
from compress.errors import InputError
from compress.runtimes.limits import TIME_LIMIT_SECONDS
from compress.tasks.data.files import is_data_file

EXAMPLE = "bert-compress eval runs/demo/export/onnxruntime-cpu --data reviews.tsv"


def evaluate(
    folder: Annotated[
        str,
        typer.Argument(
            parser=named, metavar="FOLDER", help="The folder of a model or of an export; FOLDER:TASK for one of several tasks."
        ),
    ],
    data: Data,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    data_dir: DataFolder = None,
    max_length: MaxLength = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    allow_unknown: AllowUnknown = False,
    matrix: Annotated[Path | None, typer.Option(**PATH, help="A new CSV file for how often which label was answered.")] = None,
    time_limit: TimeLimit = TIME_LIMIT_SECONDS,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure how right a model is; of a file every row counts, of a known data set its evaluation part."""
    log.configure(quiet, debug)
    columns = columns_of(data, text, pair, label)
    table = None if matrix is None else new_file("--matrix", matrix)
    source = data_folder(data_dir)
    asked = None if max_length is None else whole_number("--max-length", max_length, 4, LONGEST)
    from compress import tasks
    from compress.benchmark import measurement, subjects
    from compress.benchmark.accuracy import names_of
    from compress.models.checkpoint.labels import head_in_folder
    from compress.tasks.kind import kind_for, load_kind

    subject = subjects.subject_of(folder)
    facts, config = subject.facts(), subjects.read_json(subject.path / subjects.CONFIG)
    length = asked or facts.max_length or 128
    abstain: dict[str, Any] = {"abstain": facts.abstain} if facts.abstain else {}
    with kept_from_stdout(sys.stderr):
        kind = facts.kind if facts.kind in tasks.TASKS else kind_for(head_in_folder(subject.path, config))
        if is_data_file(data):
            names = names_of(subject) if load_kind(kind).head.is_named else []
            if facts.joined and not columns.keys() & {"text", "pair"}:
                columns = {**facts.joined, **columns}
            columns = {**columns, **abstain}
            task = tasks.evaluation_task(
                Path(data).expanduser(), labels=names, max_length=length, allow_unknown=allow_unknown, kind=kind, **columns
            )
        else:
            task = tasks.task(data, kind=kind, data_dir=source, max_length=length, allow_unknown=allow_unknown, **abstain)
        scores = measurement.evaluate(subject, task=task, device=device, time_limit=time_limit)
    if table is not None and scores["confusion"] is None:
        raise InputError(f"--matrix counts answers of single labels, which a task of {kind} does not have; leave it out.")
    if table is not None:
        record.write_whole(table, matrix_csv(scores))
    if as_json:
        print_json(scores if table is None else {**scores, "matrix": str(table)})
        return
    say(scores_text(scores))
    if table is not None:
        say(f"all answers by label: {table}")
    elif scores["confusion"] is not None and len(scores["labels"]) > MOST_LABELS:
        say("all answers by label: --matrix FILE writes them to a CSV file")
    unknown, read = record.percent(scores["unknown_tokens"]), scores["max_length"]
    say(f"{scores['examples']} examples, {scores['truncated']} of them cut to {read} tokens; {unknown} of the tokens unknown")
