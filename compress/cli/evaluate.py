"""Measure how right a model is: the command `eval`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.options import (
    DATA_ENDINGS,
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
from compress.errors import InputError

EXAMPLE = "bert-compress eval runs/demo/export/onnxruntime-cpu --data reviews.tsv"


def evaluate(
    folder: Annotated[str, typer.Argument(help="The folder of a model or of an export.")],
    data: Data,
    text: Text = None, pair: Pair = None, label: Label = None, data_dir: DataFolder = None, max_length: MaxLength = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Measure how right a model is; of a file every row counts, of a known data set its evaluation part."""
    log.configure(quiet, debug)
    columns = columns_of(data, text, pair, label)
    from compress import tasks
    from compress.live import scores_text
    from compress.measure import measurement, subjects

    subject = subjects.subject_of(folder)
    length = max_length or subjects.export_facts(subject.path).get("max_length") or 128
    with kept_from_stdout(sys.stderr):
        if data.endswith(DATA_ENDINGS):
            names = _label_names(subjects.read_json(subject.path / subjects.CONFIG), folder)
            task = tasks.evaluation_task(Path(data).expanduser(), labels=names, max_length=length, **columns)
        else:
            task = tasks.task(data, data_dir=data_dir, max_length=length)
        found = measurement.evaluate(subject, task=task, device=device)
    if as_json:
        print_json(found)
        return
    say(scores_text(found))
    say(f"{found['examples']} examples, {found['truncated']} of them cut to {length} tokens")


def _label_names(config: Mapping[str, Any], folder: str) -> list[str]:
    names = config.get("id2label")
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise InputError(f"{folder}: config.json does not name the labels (id2label); export or save the model again.")
    return [str(names[str(index)]) for index in range(len(names))]
