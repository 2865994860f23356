"""Kernels whose sums of 8-bit products overflow on this processor are not held to sums of whole numbers."""

from __future__ import annotations

import pytest

from compress.processor import has_vnni, is_x86

NEED_VNNI = {
    "test_a_static_kernel_equals_sums_of_whole_numbers",
    "test_a_dynamic_kernel_equals_the_formula_of_onnx",
    "test_a_dynamic_range_is_taken_once_for_products_that_read_the_same",
    "test_products_of_one_input_share_its_whole_numbers_where_the_grid_is_one",
    "test_the_kernel_answers_as_torch_does_with_the_rounded_weights",
    "test_a_model_that_brings_its_ranges_is_lowered_with_them",
}
"""With weights up to 127 and unsigned activations; up to 63 they are right on every processor, and are tested on each."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what x86 without VNNI adds up in 16 bits."""
    if not isinstance(item, pytest.Function) or item.originalname not in NEED_VNNI or not is_x86() or has_vnni():
        return
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if parameters.get("qmax", 127) == 127:
        pytest.skip("x86 without VNNI adds products of 8 bits up in 16 bits, which overflow")
