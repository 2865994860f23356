"""A model file of fastText gives words their vectors, and texts that it has no row for those of their n-grams."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.data.fasttext_file import hash_of, n_grams
from compress.tasks.data.vector_files import read_vectors

WORDS = ("</s>", "film", "été")
BUCKETS = 7


def model_of(
    words: tuple[str, ...] = WORDS,
    width: int = 4,
    *,
    labels: tuple[str, ...] = (),
    version: int = 12,
    kind: int = 2,
    shortest: int = 2,
    longest: int = 3,
    quantized: bool = False,
    rows: int | None = None,
) -> tuple[bytes, np.ndarray]:
    """The file as fastText writes it, without the output matrix that nobody reads, and its input matrix."""
    settings = struct.pack("<12id", width, 5, 5, 1, 5, 1, 1, kind, BUCKETS, shortest, longest, 100, 1e-4)
    entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
    dictionary = struct.pack("<iiiqq", len(entries), len(words), len(labels), 99, -1)
    dictionary += b"".join(name.encode() + b"\0" + struct.pack("<qb", 3, entry) for name, entry in entries)
    count = len(words) + BUCKETS if rows is None else rows
    matrix = np.random.default_rng(1).normal(size=(count, width)).astype(np.float32)
    content = struct.pack("<ii", 793712314, version) + settings + dictionary + struct.pack("<bqq", quantized, count, width)
    return content + matrix.tobytes(), matrix


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.bin"
    path.write_bytes(content)
    return path


def mean_of(matrix: np.ndarray, grams: list[str], *own: int, words: int = len(WORDS)) -> np.ndarray:
    return np.asarray(
        np.mean([matrix[row] for row in own] + [matrix[words + hash_of(g.encode()) % BUCKETS] for g in grams], 0)
    )


def test_the_hash_is_that_of_fasttext() -> None:
    """FNV-1a's published values for bytes below 128; above them fastText's own, as gensim and fastText compute them."""
    assert hash_of(b"") == 0x811C9DC5
    assert hash_of(b"a") == 0xE40C292C
    assert hash_of(b"foobar") == 0xBF9CF968
    assert hash_of("é".encode()) == GENSIM["é"]
    assert hash_of("<été>".encode()) == GENSIM["<été>"]


GENSIM = {"é": 1023043777, "<été>": 2778999949}


def test_n_grams_are_runs_of_letters_with_the_marks_but_no_mark_alone() -> None:
    assert list(n_grams("<été>", 2, 3)) == ["<é", "<ét", "ét", "été", "té", "té>", "é>"]
    assert list(n_grams("<ab>", 1, 2)) == ["<a", "a", "ab", "b", "b>"]
    assert list(n_grams("<a>", 4, 6)) == []


def test_a_word_s_vector_is_the_mean_of_its_row_and_its_n_grams(tmp_path: Path) -> None:
    content, matrix = model_of()
    vectors = read_vectors(written(tmp_path, content), lambda _: True)
    assert tuple(vectors.words) == WORDS
    expected = [
        matrix[0],
        mean_of(matrix, ["<f", "<fi", "fi", "fil", "il", "ilm", "lm", "lm>", "m>"], 1),
        mean_of(matrix, ["<é", "<ét", "ét", "été", "té", "té>", "é>"], 2),
    ]
    np.testing.assert_allclose(vectors.vectors, expected, rtol=1e-6)


def test_a_text_without_a_row_has_the_mean_of_its_n_grams_and_one_without_any_none(tmp_path: Path) -> None:
    content, matrix = model_of()
    vectors = read_vectors(written(tmp_path, content), {"film"}.__contains__, lambda: ["<ab>", "ing>", "x"])
    assert vectors.words == ["film"]
    assert vectors.composed.keys() == {"<ab>", "ing>"}
    np.testing.assert_allclose(vectors.composed["<ab>"], mean_of(matrix, ["<a", "<ab", "ab", "ab>", "b>"]), rtol=1e-6)
    np.testing.assert_allclose(vectors.composed["ing>"], mean_of(matrix, ["in", "ing", "ng", "ng>", "g>"]), rtol=1e-6)


@pytest.mark.parametrize("changes", [{"longest": 0, "shortest": 0, "rows": 3}, {"version": 11, "kind": 3}])
def test_a_model_without_n_grams_gives_rows_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    """Old supervised models had none, whatever their settings tell."""
    content, matrix = model_of(**changes)
    vectors = read_vectors(written(tmp_path, content), lambda _: True, lambda: pytest.fail("nothing can be composed"))
    np.testing.assert_array_equal(vectors.vectors, matrix[:3])


def test_labels_of_a_supervised_model_are_no_words(tmp_path: Path) -> None:
    content, _ = model_of(labels=("__label__good",), kind=3)
    assert tuple(read_vectors(written(tmp_path, content), lambda _: True).words) == WORDS


def with_nan(content: bytes) -> bytes:
    return content[: -16 * (BUCKETS + 2)] + struct.pack("<f", float("nan")) + content[-16 * (BUCKETS + 2) + 4 :]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            model_of(quantized=True)[0],
            r"is a quantized model of fastText \(.ftz\), whose vectors are no longer in it; give the .bin",
        ),
        (model_of(version=10)[0], "of version 10, but 11 and 12 are read"),
        (model_of()[0][:30], "it is cut off before its vectors begin"),
        (model_of()[0][:90], "it is cut off before its vectors begin|does not end within"),
        (model_of()[0][:-20], "it is cut off at row 8 of 10 of its vectors"),
        (model_of(rows=5)[0], "it tells 3 words and 7 buckets of 4 numbers, and a matrix of 5 x 4"),
        (model_of(words=())[0], "it tells 0 entries, of which 0 are words"),
        (with_nan(model_of()[0]), "the vector of 'film' holds a value that is not finite"),
    ],
)
def test_what_is_no_whole_model_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_vectors(written(tmp_path, content), lambda _: True)
