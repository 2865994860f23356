"""Imports point down the ladder, from the command line to the errors; and files keep their size and say what they are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import compress

ROOT = Path(compress.__file__).parent
LADDER = (
    (
        "arguments",
        "dependencies",
        "disk",
        "errors",
        "facts",
        "knobs",
        "labels",
        "log",
        "marks",
        "measures",
        "plugins",
        "processor",
        "record",
        "run_errors",
        "runtimes",
        "sources",
        "statistics",
    ),
    ("models",),
    ("tasks",),
    ("objectives",),
    ("training",),
    ("augmentation", "quantization"),
    ("targets",),
    ("readers",),
    ("benchmark", "serving"),
    ("pruning", "reporting"),
    ("bundles",),
    ("methods",),
    ("recipe",),
    ("pipeline",),
    ("landscapes", "live", "search"),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(LADDER) for room in rooms}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "compress":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {name.name.split(".")[1] for name in node.names if name.name.startswith("compress.")}
    return rooms


def test_every_room_stands_on_the_ladder() -> None:
    assert {_room(path) for path in FILES} == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_from_above(path: Path) -> None:
    own = _room(path)
    above = {room for room in _imported_rooms(path) & set(HEIGHT) if HEIGHT[room] > HEIGHT[own]}
    beside = {room for room in _imported_rooms(path) & set(HEIGHT) if HEIGHT[room] == HEIGHT[own] and room != own}
    assert not above, f"{path.name} in {own} imports from above: {sorted(above)}"
    assert not beside or HEIGHT[own] == 0, f"{path.name} in {own} imports a neighbour: {sorted(beside)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_under_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def test_no_file_is_called_by_a_word_that_says_nothing() -> None:
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(ROOT).parts}
    assert not names & {"utils", "helpers", "common", "misc", "base"}


def test_one_file_alone_deletes_anything() -> None:
    """So that whoever wants something gone has to say so there, where no link is followed."""
    words = ("shutil.rmtree", ".unlink(", "os.remove(", "os.unlink(", "os.removedirs(", "ignore_errors=True")
    names = {path.name for path in FILES if any(word in path.read_text(encoding="utf-8") for word in words)}
    assert names == {"disk.py"}
