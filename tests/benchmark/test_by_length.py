from __future__ import annotations

import itertools

import numpy as np

from compress.benchmark.by_length import by_length
from compress.tasks.scores import share


def answers(right: list[int]) -> np.ndarray:
    """Statistics of an accuracy."""
    return np.stack([np.array(right), np.ones(len(right))], axis=1)


def test_each_band_has_its_own_score() -> None:
    lengths = np.repeat([5, 10, 20, 40], 20)
    right = [1] * 20 + [1] * 15 + [0] * 5 + [1] * 10 + [0] * 10 + [0] * 20
    assert by_length(lengths, answers(right), share) == [
        {"from": 5, "to": 5, "examples": 20, "score": 1.0},
        {"from": 10, "to": 10, "examples": 20, "score": 0.75},
        {"from": 20, "to": 20, "examples": 20, "score": 0.5},
        {"from": 40, "to": 40, "examples": 20, "score": 0.0},
    ]


def test_every_example_is_in_one_band() -> None:
    lengths = np.random.default_rng(3).integers(3, 60, 333)
    rows = by_length(lengths, answers([1] * 333), share)
    assert sum(row["examples"] for row in rows) == 333
    assert [row["from"] for row in rows] == sorted(row["from"] for row in rows)
    assert all(before["to"] < after["from"] for before, after in itertools.pairwise(rows))
    assert (rows[0]["from"], rows[-1]["to"]) == (lengths.min(), lengths.max())


def test_there_are_no_bands_of_one_length_of_few_examples_or_of_queries() -> None:
    assert by_length(np.full(100, 8), answers([1] * 100), share) == []
    assert by_length(np.arange(39), answers([1] * 39), share) == []
    assert len(by_length(np.arange(40), answers([1] * 40), share)) == 2
    assert by_length(np.arange(100), answers([1] * 50), share) == []


def test_lengths_that_most_texts_have_make_fewer_bands() -> None:
    rows = by_length(np.array([8] * 90 + [9] * 10), answers([1] * 100), share)
    assert [(row["from"], row["examples"]) for row in rows] == [(8, 90), (9, 10)]
