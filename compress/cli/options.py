"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.errors import InputError, shown
from compress.tasks.data.files import is_data_file, listed

LARGEST_BATCH, LONGEST, MOST_THREADS, MOST_ROUNDS, MOST_SECONDS = 65_536, 1 << 20, 1024, 1000, 3600.0
LARGEST_SEED = 2**32 - 1
LARGEST_FRACTION = 100.0
LONGEST_PATH, LONGEST_NAME, MOST_DIGITS = 4096, 255, 18


def named(text: str) -> str:
    """Take the name of a file, a folder, a model or a data set as it is given.

    Raises:
        InputError: It is empty, or no file can be called so.
    """
    if not text.strip():
        raise InputError(f"{text!r} was given where a name or path is expected; name a file, a folder or what the help tells.")
    longest_part = max(len(part.encode("utf-8", "surrogatepass")) for part in text.replace("\\", "/").split("/"))
    if "\0" in text or len(text) > LONGEST_PATH or longest_part > LONGEST_NAME:
        raise InputError(
            f"{shown(text)} is no name or path: it has at most {LONGEST_PATH:,} characters, at most "
            f"{LONGEST_NAME} bytes between two '/', and no NUL; name another."
        )
    return text


def path_named(text: str) -> Path:
    """Take a path as it is given; see `named`."""
    return Path(named(text))


def place_named(text: str) -> Path | str:
    """Take a path, or an address such as s3://bucket/folder, as it is given; see `named`."""
    return named(text) if "://" in text else path_named(text)


def path_and_address(place: Any) -> tuple[Path | None, str | None]:
    """Part what `place_named` took: a path, or an address, or neither."""
    return (None, place) if isinstance(place, str) else (place, None)


PATH: dict[str, Any] = {"parser": path_named, "metavar": "PATH"}
"""How an option takes a path."""
PLACE: dict[str, Any] = {"parser": place_named, "metavar": "PLACE"}
"""How an option takes a path, or an address that fsspec opens."""
AllowUnknown = Annotated[
    bool, typer.Option("--allow-unknown", help="Go on where over a third of the text's tokens are unknown to the tokenizer.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show warnings and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show every detail, and the traceback of an error.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="seed=3, steps.distill.epochs=1, ...")]
Recipe = Annotated[
    Path, typer.Argument(parser=path_named, metavar="RECIPE", help="A recipe, such as recipes/sst2/three_layers_int8.yaml.")
]
Model = Annotated[str, typer.Argument(parser=named, metavar="MODEL", help="A folder, package:NAME or a hub name.")]
Data = Annotated[
    str,
    typer.Option(
        parser=named,
        metavar="DATA",
        help=f"A known data set, or a file that ends in {listed()}.",
    ),
]
DataFolder = Annotated[
    str | None, typer.Option("--data-dir", parser=named, metavar="PATH", help="The folder of a known data set's files.")
]
Text = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="The file's column of the text; given more than once, these are joined in their order."),
]
Pair = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="The file's column of the second text, or several.")]
Label = Annotated[str | None, typer.Option(help="The file's column of the label.")]
MaxLength = Annotated[str | None, typer.Option(metavar="TOKENS", help="Longest example in tokens; as exported, or 128.")]
TimeLimit = Annotated[float, typer.Option(help="Seconds after which a file that gives no answer is given up.")]


def columns_of(data: str, text: list[str] | None, pair: list[str] | None, label: str | None) -> dict[str, Any]:
    """Gather the names of the columns that were given; only a file has columns.

    Args:
        data: The value of --data.
        text: The values of --text.
        pair: The values of --pair.
        label: The value of --label.

    Raises:
        InputError: The data is no file, or a name is empty.
    """
    texts = {
        name: tuple(values) if len(values) > 1 else values[0] for name, values in (("text", text), ("pair", pair)) if values
    }
    given = {**texts, **({} if label is None else {"label": label})}
    for name, value in given.items():
        if not all([value] if isinstance(value, str) else value):
            raise InputError(f"--{name} is '', but it names a column of the file; name one, or leave --{name} out.")
        if not is_data_file(data):
            raise InputError(
                f"--{name} names a column of a file, but --data {shown(data)} is none; give a file, or leave the columns out."
            )
    return given


def data_folder(path: str | None) -> str | None:
    """Take the value of --data-dir.

    Raises:
        InputError: It is no folder.
    """
    if path is not None and not Path(path).expanduser().is_dir():
        raise InputError(f"--data-dir is {shown(path)}, which is no folder; name the folder of the data set's files.")
    return path


def new_file(option: str, path: Path) -> Path:
    """Take the path of a file that is to be written in the end, so that no work is lost.

    Raises:
        InputError: It is there already, or its folder is not there or may not be written to.
    """
    path = path.expanduser()
    if path.exists() or path.is_symlink():
        raise InputError(f"{option} is {shown(str(path))}, which is there already; name a new file.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{option} is {shown(str(path))}, but its folder is not there, or may not be written to; make it, or name another."
        )
    return path


def whole_number(option: str, text: str, least: int, most: int) -> int:
    """Read one whole number; see `whole_numbers`."""
    number = _whole(text.strip())
    if number is None or not least <= number <= most:
        raise InputError(f"{option} is {shown(text)}; allowed: a whole number from {least:,} to {most:,}.")
    return number


def whole_numbers(option: str, text: str, least: int, most: int) -> list[int]:
    """Read a list of whole numbers such as 1,8, each once.

    Args:
        option: What the list was given for, such as --batch.
        text: The value.
        least: The smallest number that is allowed.
        most: The largest.

    Raises:
        InputError: It is no such list, or a number is there twice.
    """
    numbers = [_whole(part.strip()) for part in text.split(",")]
    if not all(number is not None and least <= number <= most for number in numbers):
        raise InputError(
            f"{option} is {shown(text)}; allowed: whole numbers from {least} to {most}, with commas between them, as in 1,8."
        )
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{option} is {shown(text)}, where a number is there twice; give each once.")
    return [number for number in numbers if number is not None]


def seconds_given(option: str, text: str | None) -> float | None:
    """Read a time in seconds; None where none was given.

    Raises:
        InputError: It is no number, not above 0, or above an hour.
    """
    return None if text is None else number_given(option, text, MOST_SECONDS)


def number_given(option: str, text: str, most: float) -> float:
    """Read a number above 0 and at most `most`.

    Raises:
        InputError: It is none.
    """
    number = _number(text)
    if not 0 < number <= most:
        raise InputError(f"{option} is {shown(text)}; allowed: a number above 0, at most {most:,.0f}.")
    return number


def fraction_given(option: str, text: str | None) -> float | None:
    """Read a share such as 0.005; None where none was given.

    Raises:
        InputError: It is no number, below 0, or above 100 times the whole.
    """
    if text is None:
        return None
    fraction = _number(text)
    if not 0 <= fraction <= LARGEST_FRACTION:
        raise InputError(
            f"{option} is {shown(text)}; allowed: a fraction from 0 to {LARGEST_FRACTION:g}, such as 0.005 for half a point, "
            "or 0.1 for a tenth."
        )
    return fraction


def _number(text: str) -> float:
    """The number that ASCII characters write; not a number for anything else."""
    try:
        return float(text) if text.isascii() else math.nan
    except ValueError:
        return math.nan


def _whole(text: str) -> int | None:
    """The number that ASCII digits write; None for anything else, and for more digits than any option allows."""
    is_number = text.isascii() and text.isdecimal() and len(text.lstrip("0")) <= MOST_DIGITS
    return int(text.lstrip("0") or "0") if is_number else None
