"""Export a model: the command `export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log
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
    Model,
    Pair,
    Quiet,
    Text,
    columns_of,
    data_folder,
    whole_number,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import stages_text
from compress.errors import InputError, shown
from compress.tasks.data.files import is_data_file

EXAMPLE = "bert-compress export runs/demo/steps/1-distill --target onnxruntime-cpu --out new --data sst2"


def export(
    model: Model,
    target: Annotated[str, typer.Option(help="See `bert-compress list targets`.")],
    out: Annotated[Path, typer.Option(**PATH, help="A new folder.")],
    data: Data,
    options: Annotated[list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="The target's own options.")] = None,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    data_dir: DataFolder = None,
    max_length: MaxLength = None,
    allow_unknown: AllowUnknown = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export a model and prove on real sentences that the file says what the model says."""
    log.configure(quiet, debug)
    from compress.recipe import read_recipe_text

    shape = {"model": "any", "task": "any", "steps": [], "export": [target]}
    wanted = read_recipe_text(json.dumps(shape), [f"export.{target}.{option}" for option in options or []], source="export")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {shown(str(out))}, which is no folder; name a new one.")
    columns = columns_of(data, text, pair, label)
    folder = data_folder(data_dir)
    length = 128 if max_length is None else whole_number("--max-length", max_length, 4, LONGEST)
    from compress import tasks
    from compress.models.checkpoint.loading import load
    from compress.models.heads import head_of
    from compress.targets import exporting
    from compress.tasks.kind import kind_for

    with kept_from_stdout(sys.stderr):
        loaded = load(model)
        if loaded.has_new_head:
            raise InputError(f"{model} has no trained head, so its answers mean nothing; fine-tune it first, with a recipe.")
        is_file = is_data_file(data)
        task = tasks.task(
            {"train": data} | columns if is_file else data,
            kind=kind_for(head_of(loaded)),
            data_dir=folder,
            max_length=length,
            allow_unknown=allow_unknown,
        )
        shipped = exporting.export(loaded, out, target=target, task=task, **wanted.exports[0].options)
    stages = [stage.as_dict() for stage in shipped.stages]
    if as_json:
        print_json({"path": str(shipped.path), "target": shipped.target, "stages": stages})
        return
    say(f"{stages_text(stages)}\nexported: {shipped.path}")
