"""Which files of an exported folder a runtime opens: one, or the two of a model that writes. Imports no numpy."""

from __future__ import annotations

from pathlib import Path

PLAIN, ENCODER, DECODER = "model.onnx", "encoder.onnx", "decoder.onnx"
PAST, PRESENT = "past.", "present."
"""How the names begin of what a file that reads or writes a part at a time is given, and gives for the next part."""


def file_in(folder: Path) -> Path:
    """What is opened in a folder: model.onnx, or encoder.onnx where that and decoder.onnx lie there."""
    path = folder / ENCODER
    return path if is_writer(path) else folder / PLAIN


def is_writer(path: Path) -> bool:
    """Whether a file is the first of the two of a model that writes."""
    return path.name == ENCODER and path.is_file() and (path.parent / DECODER).is_file()


def graph_files(path: Path) -> tuple[Path, ...]:
    """A file, and the one beside it that belongs to it, if there is one."""
    return (path, path.parent / DECODER) if is_writer(path) else (path,)
