"""Read fastText's own model files (.bin): words, and buckets of n-grams of letters, of which any word's vector can be made.

Source: Bojanowski et al. 2017, arXiv 1607.04606, section 3.2; the format, the hash and the n-grams are those of
https://github.com/facebookresearch/fastText/blob/main/src/dictionary.cc and fasttext.cc (MIT).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.errors import InputError, shown

MAGIC = struct.pack("<i", 793712314)
VERSIONS = (11, 12)
SUPERVISED = 3  # of the kinds of model
OF_WORDS = 0  # of the kinds of entries; 1 is a label
END_OF_SENTENCE = "</s>"
MOST_WORD = 1 << 12  # bytes
MOST_ROWS = 1 << 31
MOST_WIDTH = 1 << 16
PORTION = 1 << 22  # bytes of the matrix at a time
AGAIN = "fetch or write it again"


def begins(head: bytes) -> bool:
    """Whether bytes are the beginning of such a file."""
    return head.startswith(MAGIC)


def until(file: io.BufferedReader, mark: bytes, most: int) -> bytes | None:
    """Read up to a mark, which is left out; None where it does not come within so many bytes."""
    parts: list[bytes] = []
    length = 0
    while length <= most and (head := file.peek(1)):
        end = head.find(mark)
        if end >= 0:
            parts.append(file.read(end + 1)[:-1])
            return b"".join(parts) if length + end <= most else None
        parts.append(file.read(len(head)))
        length += len(head)
    return None


def hash_of(text: bytes) -> int:
    """FNV-1a in 32 bits over bytes with a sign, as fastText computes it: a byte above 127 flips the upper bits as well."""
    value = 2166136261
    for byte in text:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def n_grams(text: str, least: int, most: int) -> Iterator[str]:
    """The runs of so many letters of a word with its marks; a mark alone is none."""
    for begin in range(len(text)):
        for end in range(begin + least, min(begin + most, len(text)) + 1):
            if end - begin > 1 or 0 < begin < len(text) - 1:
                yield text[begin:end]


@dataclass(frozen=True)
class _Model:
    """What the file tells before its matrix."""

    width: int
    buckets: int
    shortest: int
    longest: int
    words: Sequence[str]

    def rows_of(self, text: str) -> list[int]:
        """Rows of the n-grams of a word with its marks."""
        if not (self.buckets and self.longest):
            return []
        grams = n_grams(text, max(1, self.shortest), self.longest)
        return [len(self.words) + hash_of(gram.encode()) % self.buckets for gram in grams]


class _Reader:
    """Numbers in their order, little endian."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        self.path, self.file = path, file

    def take(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(f"<{layout}")
        content = self.file.read(size)
        if len(content) < size:
            raise self.wrong("it is cut off before its vectors begin")
        return struct.unpack(f"<{layout}", content)

    def wrong(self, why: str) -> InputError:
        return InputError(f"{self.path} is a model of fastText, but {why}; {AGAIN}.")


def read(
    path: Path, file: io.BufferedReader, keeps: Callable[[str], bool], composes: Callable[[], Sequence[str]]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Read words, their vectors, and the vectors made of n-grams; see `read_vectors` of `compress.tasks.data.vector_files`.

    A word's vector is the mean of its own row and of those of its n-grams, that of a text without a row the mean of its
    n-grams alone; one that is too short for any n-gram has none.
    """
    reader = _Reader(path, file)
    model = _opened(reader)
    needed: dict[str, list[int]] = {}
    for row, word in enumerate(model.words):
        if word not in needed and keeps(word):
            needed[word] = [row, *([] if word == END_OF_SENTENCE else model.rows_of(f"<{word}>"))]
    asked = {text: model.rows_of(text) for text in (composes() if model.buckets and model.longest else ())}
    asked = {text: rows for text, rows in asked.items() if rows}
    rows = sorted({row for own in (*needed.values(), *asked.values()) for row in own})
    matrix = _picked(reader, model, rows)
    places = {row: place for place, row in enumerate(rows)}
    vectors = _means(needed, places, matrix)
    stacked = np.stack(list(vectors.values())) if vectors else np.zeros((0, model.width), dtype=np.float32)
    return list(vectors), stacked, _means(asked, places, matrix)


def _means(needed: Mapping[str, list[int]], places: Mapping[int, int], matrix: np.ndarray) -> dict[str, np.ndarray]:
    return {name: matrix[[places[row] for row in rows]].mean(0) for name, rows in needed.items()}


def _settings(reader: _Reader) -> tuple[int, int, int, int]:
    """Width, buckets, and how long n-grams are at least and at most."""
    _, version = reader.take("ii")
    if version not in VERSIONS:
        raise InputError(
            f"{reader.path} is a model of fastText of version {version}, but {' and '.join(map(str, VERSIONS))} are read; "
            "write it with fastText 0.9, or give its .vec."
        )
    width, *_, model, buckets, shortest, longest, _ = reader.take("12i")
    reader.take("d")
    if not 0 < width <= MOST_WIDTH or buckets < 0 or not 0 <= shortest <= 1 << 10 or not 0 <= longest <= 1 << 10:
        raise reader.wrong(
            f"it tells vectors of {width} numbers, {buckets} buckets and n-grams of {shortest} to {longest} letters"
        )
    return width, buckets, shortest, 0 if version == VERSIONS[0] and model == SUPERVISED else longest


def _opened(reader: _Reader) -> _Model:
    width, buckets, shortest, longest = _settings(reader)
    size, words, labels, _, pruned = reader.take("iiiqq")
    if not 0 < size == words + labels or words <= 0:
        raise reader.wrong(f"it tells {size} entries, of which {words} are words and {labels} labels")
    names: list[str] = []
    for number in range(1, size + 1):
        name = until(reader.file, b"\0", MOST_WORD)
        if name is None:
            raise reader.wrong(f"entry {number} of the {size} of its dictionary does not end within {MOST_WORD:,} bytes")
        _, kind = reader.take("qb")
        if kind == OF_WORDS:
            names.append(name.decode("utf-8", errors="replace"))
    if len(names) != words:
        raise reader.wrong(f"it tells {words} words, and {len(names)} of its entries are such")
    (quantized,) = reader.take("b")
    if quantized or pruned > 0:
        raise InputError(
            f"{reader.path} is a quantized model of fastText (.ftz), whose vectors are no longer in it; give the .bin or the "
            ".vec that it was made of."
        )
    rows, columns = reader.take("qq")
    if columns != width or not words <= rows <= MOST_ROWS or (longest and buckets and rows != words + buckets):
        raise reader.wrong(
            f"it tells {words} words and {buckets} buckets of {width} numbers, and a matrix of {rows} x {columns}"
        )
    return _Model(width, buckets, shortest, longest, names)


def _picked(reader: _Reader, model: _Model, rows: Sequence[int]) -> np.ndarray:
    """These rows, which rise, of the matrix that follows."""
    matrix = np.empty((len(rows), model.width), dtype=np.float32)
    size, total = 4 * model.width, len(model.words) + (model.buckets if model.longest else 0)
    portion = max(1, PORTION // size)
    wanted = np.array(rows, dtype=np.int64)
    for begin in range(0, total, portion):
        count = min(portion, total - begin)
        content = reader.file.read(count * size)
        if len(content) < count * size:
            raise reader.wrong(f"it is cut off at row {begin + len(content) // size} of {total} of its vectors")
        first, last = np.searchsorted(wanted, [begin, begin + count])
        matrix[first:last] = np.frombuffer(content, dtype="<f4").reshape(count, model.width)[wanted[first:last] - begin]
    if not np.isfinite(matrix).all():
        row = rows[int(np.argmin(np.isfinite(matrix).all(1)))]
        name = shown(model.words[row]) if row < len(model.words) else f"bucket {row - len(model.words)}"
        raise reader.wrong(f"the vector of {name} holds a value that is not finite")
    return matrix
