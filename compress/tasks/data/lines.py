"""Plain text without columns: a text on each line, or in each paragraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from compress.errors import InputError
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.rows import Table

PLAIN = ".txt"
LINE, PARAGRAPH = "line", "paragraph"
PARTED: Mapping[str, Callable[[str], list[tuple[int, str]]]] = {
    LINE: lambda text: [(number, line.strip()) for number, line in enumerate(text_lines(text), 1)],
    PARAGRAPH: lambda text: _paragraphs(text),
}
"""What ends a text: a line's end, or an empty line; the lines of a paragraph are joined by spaces."""


def _paragraphs(text: str) -> list[tuple[int, str]]:
    texts: list[tuple[int, list[str]]] = []
    is_inside = False
    for number, line in enumerate(text_lines(text), 1):
        if line.strip() and is_inside:
            texts[-1][1].append(line.strip())
        elif line.strip():
            texts.append((number, [line.strip()]))
        is_inside = bool(line.strip())
    return [(number, " ".join(lines)) for number, lines in texts]


def _read(path: Path, content: bytes, parted_by: str) -> Table:
    texts = [(number, text) for number, text in PARTED[parted_by](decoded(path, content)) if text]
    if not texts:
        raise InputError(f"{path} holds no text; give a file with one text per {parted_by}.")
    numbers, column = [number for number, _ in texts], [text for _, text in texts]
    return Table(str(path), ("text",), lambda names: (numbers, [column for _ in names]), Mistakes(str(path)))


def read_lines_of_text(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read a text from each line that has one."""
    return _read(path, content, LINE)


def read_paragraphs(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read a text from each paragraph: lines between empty ones."""
    return _read(path, content, PARAGRAPH)


READERS_OF_TEXT: Mapping[str, Callable[[Path, bytes, str | None], Table]] = {
    LINE: read_lines_of_text,
    PARAGRAPH: read_paragraphs,
}
"""What reads plain text, by what ends a text of it."""
