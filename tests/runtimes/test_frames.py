from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from compress.runtimes.frames import packed, read_frame, unpacked

ARRAYS = {"ids": np.arange(6, dtype=np.int64).reshape(2, 3), "logits": np.array([[0.1, -0.0]], dtype=np.float32)}


def test_a_frame_comes_back_bit_by_bit() -> None:
    message, arrays = unpacked(packed({"do": "run", "text": "a\nb"}, ARRAYS)) or ({}, {})
    assert message == {"do": "run", "text": "a\nb"}
    assert list(arrays) == ["ids", "logits"]
    for name, values in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (values.dtype, values.shape)
        assert arrays[name].tobytes() == values.tobytes()


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_frame_that_is_not_whole_waits(kept: int) -> None:
    assert unpacked(packed({"do": "run"}, ARRAYS)[:kept]) is None


def test_frames_are_read_from_a_file_one_after_the_other() -> None:
    file = io.BytesIO(packed({"first": 1}, ARRAYS) + packed({"second": 2}, {}))
    first, second = read_frame(file), read_frame(file)
    assert first is not None
    assert np.array_equal(first[1]["ids"], ARRAYS["ids"])
    assert second == ({"second": 2}, {})
    assert read_frame(file) is None


def test_arrays_without_elements_are_arrays() -> None:
    frame = unpacked(packed({}, {"none": np.zeros((3, 0), dtype=np.float32)}))
    assert frame is not None
    assert frame[1]["none"].shape == (3, 0)


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[1]",
        "3",
        '{"arrays": 5}',
        '{"arrays": [["a", "<f4"]]}',
        '{"arrays": [["a", "O", [1]]]}',
        '{"arrays": [["a", "<f4", [-1]]]}',
        '{"arrays": [["a", "<f4", ["x"]]]}',
        '{"arrays": [["a", "<f4", [1e3]]]}',
        '{"arrays": [["a", "<f4", [999999999999]]]}',
    ],
)
def test_what_is_no_frame_is_refused(line: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        unpacked(line.encode() + b"\n")


def test_a_line_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.runtimes.frames.LONGEST_LINE", 10)
    frame: Any = unpacked(b"x" * 10)
    assert frame is None
    with pytest.raises(ValueError, match="does not end"):
        unpacked(b"x" * 11)
