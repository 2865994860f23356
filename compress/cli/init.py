"""Write a recipe for a model and data: the command `init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.options import (
    PATH,
    AsJson,
    DataFolder,
    Debug,
    Label,
    Pair,
    Quiet,
    Text,
    columns_of,
    data_folder,
    named,
    new_file,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.errors import InputError, shown
from compress.tasks.data.files import is_data_file, listed

EXAMPLE = "bert-compress init --model google-bert/bert-base-uncased --data reviews.tsv --out reviews.yaml --speedup 20"
SLOWEST, FASTEST = 1.0, 1000.0


def init(
    model: Annotated[
        str | None, typer.Option(parser=named, metavar="MODEL", help="A folder, package:NAME or a hub name.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(parser=named, metavar="DATA", help=f"A known data set, or a file that ends in {listed()}."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Of the task; told from the data where that is certain.")] = None,
    out: Annotated[Path | None, typer.Option(**PATH, help="The recipe, a new file: NAME.yaml.")] = None,
    validation: Annotated[Path | None, typer.Option(**PATH, help="A file of rows to measure on alone.")] = None,
    speedup: Annotated[float, typer.Option(help="How many times as fast the file has to be.")] = 20.0,
    max_drop: Annotated[float, typer.Option(help="How much of the metric it may lose: 0.02 is two points.")] = 0.02,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    data_dir: DataFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at a model and data, and write a recipe for them that runs as it is; ask for what is missing."""
    log.configure(quiet, debug)
    asks = somebody_answers() and not as_json
    model, data, out = _asked(model, data, out, asks)
    if not SLOWEST <= speedup <= FASTEST or not 0 <= max_drop < 1:
        raise InputError(
            f"--speedup is {speedup} and --max-drop {max_drop}; allowed: {SLOWEST:g} to {FASTEST:g}, and 0 to below 1."
        )
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {shown(str(out))}, which does not end in .yaml; name a new file that does.")
    out = new_file("--out", out)
    source = _source(data, validation, columns_of(data, text, pair, label))
    from compress.models.checkpoint.outline import outline
    from compress.recipe import read_recipe_text
    from compress.recipe.templates import Aims, ModelFacts, written_recipe
    from compress.tasks.looking import look_at

    folder = data_folder(data_dir)
    with kept_from_stdout(sys.stderr):
        sizes = ModelFacts(model, **outline(model))
        try:
            facts = look_at(source, kind, folder)
        except InputError as err:
            if not asks or kind is not None or "--kind" not in str(err):
                raise
            facts = look_at(source, typer.prompt(f"{err}\nKind"), folder)
    recipe = written_recipe(sizes, source, facts, Aims(speedup, max_drop), file=str(out), data_dir=folder)
    plan = read_recipe_text(recipe, source=str(out))
    with out.open("x", encoding="utf-8") as file:
        file.write(recipe)
    if as_json:
        print_json({"path": str(out), "kind": facts.kind, "rows": facts.rows, "recipe": plan.resolved()})
        return
    say(f"{recipe}\nwritten: {out}; next: bert-compress run {out} --tiny, which takes a minute, and without --tiny")


def somebody_answers() -> bool:
    """Whether stdin is a terminal, at which questions can be answered."""
    return sys.stdin.isatty()


def _asked(model: str | None, data: str | None, out: Path | None, asks: bool) -> tuple[str, str, Path]:
    """Model, data and file, asked for where they are missing and somebody can answer."""
    given = {"--model": model, "--data": data, "--out": out}
    missing = [name for name, value in given.items() if value is None]
    if missing and not asks:
        raise InputError(
            f"{' and '.join(missing)} missing; give them as options, or call init in a terminal, which asks for them."
        )
    model = model if model is not None else named(typer.prompt("Model (a folder, package:NAME or a hub name)"))
    data = data if data is not None else named(typer.prompt("Data (a file of rows, or the name of a known set)"))
    beginning = (Path(data).name if is_data_file(data) else data).partition(".")[0] or "recipe"
    return model, data, out if out is not None else Path(named(typer.prompt("Recipe to write", default=f"{beginning}.yaml")))


def _source(data: str, validation: Path | None, columns: dict[str, Any]) -> str | dict[str, Any]:
    """`task.data` of the recipe."""
    if is_data_file(data):
        return {"train": data, **({"validation": str(validation)} if validation else {}), **columns}
    if validation is not None:
        raise InputError(
            f"--validation is given, but {shown(data)} is no file; a known data set has its own rows to measure on."
        )
    return data
