"""Files of word vectors of every kind are read alike, and one that is damaged is refused with the place."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.data.vector_files import read_vectors

WORDS = ("the", "film", "café", "dull")
ROWS = np.array([[1.5, -2.0, 0.25], [0.0, 3.0, -1.0], [4.0, 5.0, 6.0], [-7.0, 8.5, 9.0]], dtype=np.float32)


def text_of(header: bool = False, end: str = "\n") -> bytes:
    """The rows as text; word2vec's own tool ends them with a space."""
    rows = [f"{word} {' '.join(f'{value:g}' for value in row)}{end}" for word, row in zip(WORDS, ROWS, strict=True)]
    return ("4 3\n" * header + "".join(rows)).encode()


def binary_of(end: bytes = b"\n") -> bytes:
    """The rows as word2vec's own tool writes them."""
    rows = [word.encode() + b" " + row.tobytes() + end for word, row in zip(WORDS, ROWS, strict=True)]
    return b"4 3\n" + b"".join(rows)


FORMATS: dict[str, bytes] = {
    "GloVe": text_of(),
    "GloVe with Windows' ends of lines": text_of(end="\r\n"),
    "word2vec's text": text_of(header=True, end=" \n"),
    "word2vec's binary": binary_of(),
    "gensim's binary": binary_of(end=b""),
}


def written(folder: Path, content: bytes, name: str = "vectors") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def every(_: str) -> bool:
    return True


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_words_and_numbers(name: str, packed: bool, tmp_path: Path) -> None:
    content = gzip.compress(FORMATS[name]) if packed else FORMATS[name]
    path = written(tmp_path, content, "vectors.gz" if packed else "vectors")
    vectors = read_vectors(path, every)
    assert tuple(vectors.words) == WORDS
    np.testing.assert_array_equal(vectors.vectors, ROWS)
    assert vectors.composed == {}
    assert vectors.width == 3


@pytest.mark.parametrize("name", FORMATS)
def test_rows_that_nobody_needs_are_not_kept(name: str, tmp_path: Path) -> None:
    vectors = read_vectors(written(tmp_path, FORMATS[name]), {"dull", "film"}.__contains__)
    assert vectors.words == ["film", "dull"]
    np.testing.assert_array_equal(vectors.vectors, ROWS[[1, 3]])


def test_of_two_rows_of_a_word_the_first_counts(tmp_path: Path) -> None:
    vectors = read_vectors(written(tmp_path, b"a 1 2\nb 3 4\na 5 6\n"), every)
    assert vectors.words == ["a", "b"]
    assert vectors.vectors.tolist() == [[1, 2], [3, 4]]


def test_words_with_spaces_are_told_from_rows_that_are_too_long(tmp_path: Path) -> None:
    """GloVe's 840B has such: ". . ." and "at name@domain.com"."""
    vectors = read_vectors(written(tmp_path, b"a 1 2\n. . . 3 4\nat name@domain.com 5 6\n"), every)
    assert vectors.words == ["a", ". . .", "at name@domain.com"]
    assert vectors.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_word_that_is_no_utf_8_does_not_stop_the_others(tmp_path: Path) -> None:
    vectors = read_vectors(written(tmp_path, b"a 1 2\n\xff\xfe 3 4\nb 5 6\n"), {"a", "b"}.__contains__)
    assert vectors.vectors.tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; give a file of word2vec, GloVe or fastText"),
        (b"a 1 2\nb 3\n", "line 2: it has 1 numbers, but the vectors are 2 wide; fetch or write it again"),
        (b"a 1 2\nb 3 4 5\n", "line 2: it has 3 numbers, but the vectors are 2 wide"),
        (b"2 2\na 1 2\nb 3\n", "line 3: it has 1 numbers, but the vectors are 2 wide"),
        (b"a 1 2\n\nb 3 4\n", "line 2: it has 0 numbers"),
        (b"a\nb\n", "line 1: it has 0 numbers behind the word, not 1 to 65536"),
        (b"a 1 2\nb 3 x4\n", "line 2: 'x4' is no number"),
        (b"a 1 2\nb 3 nan\n", "line 2: it holds a value that is not finite"),
        (b"a 1 2\nb 3 1e99\n", "line 2: it holds a value that is not finite"),
        (b"3 2\na 1 2\nb 3 4\n", "line 1: it tells 3 words, but the file ends after 2"),
        (b"1 2\na 1 2\nb 3 4\n", "line 1: it tells 1 words, but more rows follow"),
        (b"4 0\na\n", "line 1: it tells 4 words of 0 numbers"),
        (b"4 99999\na\n", "line 1: it tells 4 words of 99999 numbers"),
        (binary_of()[:-9], "byte 57: the file ends inside the vector of 'dull', word 4 of 4"),
        (binary_of()[:60], "word 4 of the 4 that line 1 tells does not end within"),
        (binary_of().replace(b"4 3", b"9 3"), "word 5 of the 9 that line 1 tells does not end"),
        (binary_of().replace(b"4 3", b"2 3"), "more follows behind the 2 words that line 1 tells"),
        (
            b"1 2\nword " + struct.pack("<ff", 1.0, float("inf")),
            "byte 4: the vector of 'word' holds a value that is not finite",
        ),
        (b"PK\x03\x04 and so on", "is no text but a zip file"),
        (b"PAR1\x15 and so on", "is no text but a Parquet file"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused_with_its_place(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_vectors(written(tmp_path, content), every)
    assert str(tmp_path / "vectors") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "cannot be read: No such file or directory"),
        ("vectors.gz", b"a 1 2\n", "vectors.gz is no gzip file, or a damaged one"),
        ("vectors.gz", gzip.compress(text_of() * 2000)[:-30], "vectors.gz is no gzip file, or a damaged one"),
        ("vectors.zip", b"PK\x03\x04", "vectors.zip is a .zip, which may hold several files; unpack it"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_vectors(path, every)


def test_a_line_without_end_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = written(tmp_path, b"a " + b"1 " * (2 << 20))
    with pytest.raises(InputError, match="line 1: it is longer than 2,097,152 bytes"):
        read_vectors(path, every)


def test_the_number_of_a_row_that_nobody_needs_is_not_read(tmp_path: Path) -> None:
    asked: list[str] = []

    def keeps(word: str) -> bool:
        asked.append(word)
        return word == "b"

    keep: Callable[[str], bool] = keeps
    assert read_vectors(written(tmp_path, b"a x y\nb 1 2\n"), keep).words == ["b"]
    assert asked == ["a", "b"]
