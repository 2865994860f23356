"""The files beside an ONNX file that hold its weights: only such as lie in its folder are ever opened."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.errors import InputError, first_line

KEY = b"location"  # stands in every file that names another one


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold data of its tensors.

    Raises:
        InputError: One of them is missing, or lies outside the folder; or the file cannot be read as ONNX.
    """
    if not _names_files(path):
        return []
    return [_checked(path, name) for name in sorted(_locations(path))]


def _names_files(path: Path) -> bool:
    """Whether it may; most do not, and need not be parsed."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(KEY) >= 0
    except OSError as err:
        raise InputError(f"{path} cannot be read ({err}); restore the file.") from err


def _locations(path: Path) -> set[str]:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as err:  # protobuf's errors have no common class of their own
        raise InputError(f"{path} is no ONNX file ({first_line(err)}); export the model again.") from err
    return set(_named(model))


def _named(message: Any) -> Iterator[str]:
    """The locations in a protobuf message, however deep: initializers, attributes of nodes, subgraphs, functions."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.type == field.TYPE_MESSAGE:
            for part in value if _is_repeated(value) else [value]:
                yield from _named(part)


def _is_repeated(value: Any) -> bool:
    return not hasattr(value, "ListFields")


def _checked(path: Path, name: str) -> Path:
    file = path.parent / name
    folders = {path.parent.resolve(), path.resolve().parent}  # the second one is a hub's cache, where all files are links
    try:
        inside = not Path(name).is_absolute() and any(file.resolve().is_relative_to(folder) for folder in folders)
        there = inside and file.is_file()
    except (OSError, ValueError, RuntimeError) as err:  # names with zeros in them, too long ones, links that go round
        why = getattr(err, "strerror", None) or err
        raise InputError(f"{path} keeps weights in {name[:100]!r}, which is no file name ({why}); export it again.") from err
    if not inside:
        raise InputError(
            f"{path} keeps weights in {name[:100]!r}; allowed are files in its own folder: put it there, or export it again."
        )
    if not there:
        raise InputError(f"{path} keeps weights in {name[:100]!r}, which is not there; copy it from where the file is from.")
    return file
