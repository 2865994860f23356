"""Measure how right a model is: the command `eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log, record
from compress.cli.options import (
    DATA_ENDINGS,
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
    columns_of,
)
from compress.cli.printing import kept_from_stdout, print_json, say

EXAMPLE = "bert-compress eval runs/demo/export/onnxruntime-cpu --data reviews.tsv"


def evaluate(
    folder: Annotated[str, typer.Argument(help="The folder of a model or of an export.")],
    data: Data,
    text: Text = None, pair: Pair = None, label: Label = None, data_dir: DataFolder = None, max_length: MaxLength = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu", allow_unknown: AllowUnknown = False,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Measure how right a model is; of a file every row counts, of a known data set its evaluation part."""
    log.configure(quiet, debug)
    columns = columns_of(data, text, pair, label)
    from compress import tasks
    from compress.artifact.labels import names_in_folder
    from compress.live import scores_text
    from compress.measure import measurement, subjects

    subject = subjects.subject_of(folder)
    length = max_length or subjects.export_facts(subject.path).get("max_length") or 128
    with kept_from_stdout(sys.stderr):
        if data.endswith(DATA_ENDINGS):
            names = names_in_folder(subject.path, subjects.read_json(subject.path / subjects.CONFIG))
            task = tasks.evaluation_task(
                Path(data).expanduser(), labels=names, max_length=length, allow_unknown=allow_unknown, **columns
            )
        else:
            task = tasks.task(data, data_dir=data_dir, max_length=length, allow_unknown=allow_unknown)
        found = measurement.evaluate(subject, task=task, device=device)
    if as_json:
        print_json(found)
        return
    say(scores_text(found))
    unknown = record.percent(found["unknown_tokens"])
    say(f"{found['examples']} examples, {found['truncated']} of them cut to {length} tokens; {unknown} of the tokens unknown")

