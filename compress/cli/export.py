"""Export a model: the command `export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

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

EXAMPLE = "bert-compress export runs/demo/steps/1-distill --target onnxruntime-cpu --out new --data sst2"


def export(
    model: Annotated[str, typer.Argument(help="A folder, package:NAME or a hub name.")],
    target: Annotated[str, typer.Option(help="See `bert-compress list targets`.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    data: Data,
    options: Annotated[list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="The target's own options.")] = None,
    text: Text = None, pair: Pair = None, label: Label = None, data_dir: DataFolder = None, max_length: MaxLength = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Export a model and prove on real sentences that the file says what the model says."""
    log.configure(quiet, debug)
    from compress.recipe import read_recipe_text

    shape = {"model": "any", "task": "any", "steps": [], "export": [target]}
    wanted = read_recipe_text(json.dumps(shape), [f"export.{target}.{one}" for one in options or []], source="export")
    columns = columns_of(data, text, pair, label)
    from compress import tasks
    from compress.artifact.loading import load
    from compress.export import exporting
    from compress.live import stages_text

    with kept_from_stdout(sys.stderr):
        loaded = load(model)
        if loaded.has_new_head:
            raise InputError(f"{model} has no trained head, so its answers mean nothing; fine-tune it first, with a recipe.")
        is_file = data.endswith(DATA_ENDINGS)
        task = tasks.task({"train": data} | columns if is_file else data, data_dir=data_dir, max_length=max_length or 128)
        shipped = exporting.export(loaded, out, target=target, task=task, **wanted.exports[0].options)
    stages = [stage.as_dict() for stage in shipped.stages]
    if as_json:
        print_json({"path": str(shipped.path), "target": shipped.target, "stages": stages})
        return
    say(f"{stages_text(stages)}\nexported: {shipped.path}")
