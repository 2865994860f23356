"""Weights take seven bits where sums of eight-bit products come out wrong, or may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from compress.processor import has_vnni
from compress.targets.onnx import saturation
from compress.targets.onnx.saturation import safe_bits, sums_saturate

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def in_sixteen_bits(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums as x86 without VNNI adds them: two products at a time in 16 bits, which end at 32767."""
    products = values.astype(np.int64)[:, :, None] * weight.astype(np.int64)[None]
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.clip(pairs, -32768, 32767).sum(axis=1)


def exactly(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return values.astype(np.int64) @ weight.astype(np.int64)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], bool]:
    """Try a kernel in the place of onnxruntime's."""

    def tried(compute: Kernel) -> bool:
        class Session:
            def __init__(self, content: bytes, *_: Any, **__: Any) -> None:
                (tensor,) = onnx.load_from_string(content).graph.initializer
                self.weight = numpy_helper.to_array(tensor)

            def run(self, _: Any, given: dict[str, np.ndarray]) -> list[np.ndarray]:
                (values,) = given.values()
                return [compute(values, self.weight).astype(np.int32)]

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        return sums_saturate.__wrapped__()

    return tried


def test_sums_that_end_at_sixteen_bits_are_seen(kernel: Callable[[Kernel], bool]) -> None:
    assert kernel(in_sixteen_bits)


def test_exact_sums_are_no_saturation(kernel: Callable[[Kernel], bool]) -> None:
    assert not kernel(exactly)


def test_sums_that_overflow_now_and_then_are_seen(kernel: Callable[[Kernel], bool]) -> None:
    """One wrong sum of 4096 is enough."""
    assert kernel(lambda values, weight: exactly(values, weight) - (np.arange(64 * 64) == 4095).reshape(64, 64))


def test_weights_of_seven_bits_cannot_overflow_sixteen() -> None:
    """Two products of 255 and 63 are 32130; of 255 and 127 they are 64770."""
    values, weight = np.full((64, 64), 255, np.uint8), np.full((64, 64), 63, np.int8)
    np.testing.assert_array_equal(in_sixteen_bits(values, weight), exactly(values, weight))
    assert (in_sixteen_bits(values, np.full_like(weight, 127)) == 32 * 32767).all()


@pytest.mark.parametrize(
    ("vnni", "saturate", "bits"), [(True, False, 8), (True, True, 7), (False, False, 7), (False, True, 7)]
)
def test_eight_bits_are_taken_where_the_instructions_are_there_and_the_trial_is_right(
    monkeypatch: pytest.MonkeyPatch, vnni: bool, saturate: bool, bits: int
) -> None:
    monkeypatch.setattr(saturation, "has_vnni", lambda: vnni)
    monkeypatch.setattr(saturation, "sums_saturate", lambda: saturate)
    assert safe_bits() == bits


@pytest.mark.skipif(not has_vnni(), reason="this processor may add eight-bit products wrong")
def test_sums_are_exact_on_a_processor_with_vnni() -> None:
    assert not sums_saturate()
    assert safe_bits() == 8
