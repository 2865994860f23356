"""Read vectors of words from files of word2vec, GloVe and fastText, and hold those alone that are asked for.

Known are word2vec's text and binary format, GloVe's text, with and without the line that counts rows, fastText's .vec and
.bin, and all of them packed (.gz, .bz2, .xz). A file is read once, from its beginning to its end.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.data import fasttext_file
from compress.tasks.data.packing import refuse_other_kind, streamed

MOST_WIDTH = 1 << 16
MOST_LINE = 2 << 20  # bytes of a row of text
MOST_WORD = 1 << 12  # bytes of a word
PEEKED = 1 << 12
_HEADER = re.compile(rb"(\d{1,12})[ \t]+(\d{1,12})[ \t\r]*\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
AGAIN = "fetch or write it again"


@dataclass(frozen=True, eq=False)
class WordVectors:
    """The vectors that were asked for.

    Args:
        words: Those kept, in the file's order.
        vectors: A row for each, (words, width).
        composed: Vectors of texts that the file has no row for, made of their n-grams.
    """

    words: list[str]
    vectors: np.ndarray
    composed: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.vectors.shape[1])


Keeps = Callable[[str], bool]
Composes = Callable[[], Sequence[str]]


def _nothing() -> Sequence[str]:
    return ()


def read_vectors(path: Path, keeps: Keeps, composes: Composes = _nothing) -> WordVectors:
    """Read a file of word vectors; its format is told by its content.

    Args:
        path: The file.
        keeps: Is asked for each word, in the file's order, whether its vector is needed. Of the others only the width of the
            row is checked.
        composes: Is asked, once all words are known, for texts to make vectors of by n-grams of letters, with "<" where a word
            begins and ">" where it ends; files without n-grams do not ask.

    Raises:
        InputError: The file cannot be read, is damaged or cut off, its rows are of several widths, or a number is none.
    """
    with streamed(path) as file:
        head = file.peek(PEEKED)
        if fasttext_file.begins(head):
            names, rows, composed = fasttext_file.read(path, file, keeps, composes)
            return WordVectors(names, rows, composed)
        _refuse_what_is_none(path, head)
        header = _HEADER.match(head)
        if header is None:
            return _from_text(path, file, keeps, None)
        count, width = int(header[1]), int(header[2])
        if count == 0 or not 0 < width <= MOST_WIDTH:
            raise InputError(
                f"{path}, line 1: it tells {count} words of {width} numbers; at least one word is needed, and 1 to "
                f"{MOST_WIDTH} numbers: {AGAIN}."
            )
        file.read(header.end())
        return (_from_text if _is_text(head) else _from_binary)(path, file, keeps, (count, width))


def _is_text(head: bytes) -> bool:
    """Whether bytes are the beginning of a text; those of floats are none in UTF-8, or hold what no text does."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(head)


def _refuse_what_is_none(path: Path, head: bytes) -> None:
    if not head:
        raise InputError(f"{path} is empty; give a file of word2vec, GloVe or fastText.")
    refuse_other_kind(str(path), head)


class _Rows:
    """Rows of text: a word, and numbers with one space before each."""

    def __init__(self, path: Path, width: int | None, first_line: int) -> None:
        self.path, self.width, self.line = path, width, first_line - 1

    def read(self, line: bytes) -> tuple[bytes, bytes]:
        """The word and the numbers of the next row, whose width is checked; spaces inside the word are part of it."""
        self.line += 1
        if len(line) >= MOST_LINE:
            raise self.wrong(f"it is longer than {MOST_LINE:,} bytes, so that it is no vector of a word")
        fields = line.rstrip().replace(b"\t", b" ")
        spaces = fields.count(b" ")
        if self.width is None:
            self.width = spaces
            if not 0 < spaces <= MOST_WIDTH:
                raise self.wrong(f"it has {spaces} numbers behind the word, not 1 to {MOST_WIDTH}")
        if spaces == self.width:
            word, _, numbers = fields.partition(b" ")
            return word, numbers
        parts = fields.rsplit(b" ", self.width)
        if spaces < self.width or any(_is_number(part) for part in parts[0].split(b" ")[1:]):
            raise self.wrong(f"it has {spaces} numbers, but the vectors are {self.width} wide")
        return parts[0], b" ".join(parts[1:])

    def numbers(self, text: bytes) -> np.ndarray:
        """The numbers of a row, (width,)."""
        try:
            with np.errstate(over="ignore"):  # an infinity then, which is refused
                values = np.array(text.split(b" "), dtype=np.float64).astype(np.float32)
        except ValueError as err:
            wrong = next(part for part in text.split(b" ") if not _is_number(part))
            raise self.wrong(f"{shown(wrong.decode(errors='replace'))} is no number") from err
        if not np.isfinite(values).all():
            raise self.wrong("it holds a value that is not finite")
        return values

    def wrong(self, why: str) -> InputError:
        """What to raise about the row that was read last."""
        return InputError(f"{self.path}, line {self.line}: {why}; {AGAIN}.")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_text(path: Path, file: io.BufferedReader, keeps: Keeps, sizes: tuple[int, int] | None) -> WordVectors:
    count, width = sizes or (None, None)
    rows = _Rows(path, width, 1 if sizes is None else 2)
    words: dict[str, np.ndarray] = {}
    number = 0
    while line := file.readline(MOST_LINE):
        number += 1
        if count is not None and number > count:
            if line.strip():
                raise InputError(f"{path}, line 1: it tells {count} words, but more rows follow; {AGAIN}.")
            continue
        name, numbers = rows.read(line)
        word = name.decode("utf-8", errors="replace")
        if word not in words and keeps(word):
            words[word] = rows.numbers(numbers)
    if count is not None and number < count:
        raise InputError(f"{path}, line 1: it tells {count} words, but the file ends after {number}; {AGAIN}.")
    assert rows.width is not None
    return WordVectors(list(words), _stacked(words, rows.width))


def _from_binary(path: Path, file: io.BufferedReader, keeps: Keeps, sizes: tuple[int, int]) -> WordVectors:
    count, width = sizes
    words: dict[str, np.ndarray] = {}
    place = len(b"%d %d\n" % sizes)
    for number in range(1, count + 1):
        name = fasttext_file.until(file, b" ", MOST_WORD)
        if name is None:
            raise InputError(
                f"{path}, byte {place}: word {number} of the {count} that line 1 tells does not end within {MOST_WORD:,} "
                f"bytes; the file is cut off, or no binary file of word2vec with vectors of {width} numbers: {AGAIN}."
            )
        content = file.read(4 * width)
        word = name.lstrip(b"\n").decode("utf-8", errors="replace")
        if len(content) < 4 * width:
            raise InputError(
                f"{path}, byte {place}: the file ends inside the vector of {shown(word)}, word {number} of {count}; {AGAIN}."
            )
        if word not in words and keeps(word):
            words[word] = np.frombuffer(content, dtype="<f4").astype(np.float32)
            if not np.isfinite(words[word]).all():
                raise InputError(
                    f"{path}, byte {place}: the vector of {shown(word)} holds a value that is not finite; {AGAIN}."
                )
        place += len(name) + 1 + len(content)
    if file.read(PEEKED).strip():
        raise InputError(f"{path}, byte {place}: more follows behind the {count} words that line 1 tells; {AGAIN}.")
    return WordVectors(list(words), _stacked(words, width))


def _stacked(words: dict[str, np.ndarray], width: int) -> np.ndarray:
    return np.stack(list(words.values())) if words else np.zeros((0, width), dtype=np.float32)
