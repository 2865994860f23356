from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.per_example import packed, unpacked


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([[1, 1], [0, 1], [1, 1]], "|u1"),
        ([[255], [0]], "|u1"),
        ([[256, -1]], "<i4"),
        ([[0.5, -2.25]], "<f4"),
        ([[1 / 3], [2.0]], "<f8"),
    ],
)
def test_what_was_packed_is_read_back_as_it_was_through_json(numbers: list[list[float]], dtype: str) -> None:
    entry = json.loads(json.dumps(packed(np.array(numbers), "f1")))
    assert entry["dtype"] == dtype
    read = unpacked({"name": "a", "examples": entry}, "f1")
    assert read is not None
    assert read.tolist() == numbers


def test_anybody_can_read_it_in_a_line() -> None:
    entry = packed(np.array([[1, 10], [0, 20], [1, 30]]), "accuracy")
    written = zlib.decompress(base64.b64decode(entry["zlib_base64"]))
    assert np.frombuffer(written, entry["dtype"]).reshape(entry["columns"], entry["count"]).tolist() == [
        [1, 0, 1],
        [10, 20, 30],
    ]


def test_a_thousand_right_or_wrong_answers_take_a_few_hundred_characters() -> None:
    right = np.random.default_rng(1).uniform(size=1000) < 0.9
    assert len(packed(np.stack([right, np.ones(1000)], axis=1), "accuracy")["zlib_base64"]) < 400


def test_of_another_metric_or_of_none_nothing_is_read() -> None:
    entry = packed(np.array([[1]]), "accuracy")
    assert unpacked({"examples": entry}, "f1") is None
    assert unpacked({}, "f1") is None
    assert unpacked({"examples": None}, "f1") is None


@pytest.mark.parametrize(
    "change",
    [
        {"zlib_base64": "no base64!"},
        {"zlib_base64": base64.b64encode(b"no zlib").decode()},
        {"zlib_base64": 3},
        {"count": 3},
        {"count": -2},
        {"count": True},
        {"count": 1 << 40},
        {"columns": 1},
        {"dtype": "object"},
        {"dtype": ["<f4"]},
        {"dtype": "<f4", "zlib_base64": base64.b64encode(zlib.compress(np.full(4, np.nan, "<f4").tobytes())).decode()},
    ],
)
def test_what_is_damaged_is_refused_with_the_subject(change: dict[str, Any]) -> None:
    entry = packed(np.array([[1, 2], [3, 4]]), "f1") | change
    with pytest.raises(InputError, match=r"examples of 'int8' cannot be read .*restore the file"):
        unpacked({"name": "int8", "examples": entry}, "f1")


def test_a_damaged_entry_that_would_unpack_to_gigabytes_takes_no_memory() -> None:
    entry = packed(np.array([[1]]), "f1") | {"zlib_base64": base64.b64encode(zlib.compress(bytes(10_000_000))).decode()}
    with pytest.raises(InputError, match="cannot be read"):
        unpacked({"name": "int8", "examples": entry}, "f1")


def test_an_entry_that_is_no_object_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        unpacked({"name": "int8", "examples": "all right"}, "f1")
