"""The options that several commands share, and how their values are read."""

from __future__ import annotations

from typing import Annotated

import typer

from compress.errors import InputError

DATA_ENDINGS = (".tsv", ".csv", ".jsonl", ".parquet")

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show warnings and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show every detail, and the traceback of an error.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="seed=3, steps.distill.epochs=1, ...")]
Data = Annotated[str, typer.Option(help=f"A known data set, or a file that ends in {', '.join(DATA_ENDINGS)}.")]
DataFolder = Annotated[str | None, typer.Option("--data-dir", help="The folder of a known data set's files.")]
Text = Annotated[str | None, typer.Option(help="The file's column of the text.")]
Pair = Annotated[str | None, typer.Option(help="The file's column of the second text of a pair.")]
Label = Annotated[str | None, typer.Option(help="The file's column of the label.")]
MaxLength = Annotated[int | None, typer.Option(min=4, help="Longest example in tokens; as exported, or 128.")]


def columns_of(data: str, text: str | None, pair: str | None, label: str | None) -> dict[str, str]:
    """Gather the names of the columns that were given; only a file has columns.

    Args:
        data: The value of --data.
        text: The value of --text.
        pair: The value of --pair.
        label: The value of --label.
    """
    columns = {name: value for name, value in (("text", text), ("pair", pair), ("label", label)) if value}
    if columns and not data.endswith(DATA_ENDINGS):
        raise InputError(f"--{next(iter(columns))} names a column of a file, but --data {data} is none; give a file, or leave "
                         "the columns out.")  # fmt: skip
    return columns


def whole_numbers(option: str, text: str, least: int = 1) -> list[int]:
    """Read a list of whole numbers such as 1,8.

    Args:
        option: What the list was given for, such as --batch.
        text: The value.
        least: The smallest number that is allowed.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise InputError(f"{option} is {text!r}; allowed: whole numbers from {least} on, with commas between them, as in 1,8.")
    return [int(part) for part in parts]
