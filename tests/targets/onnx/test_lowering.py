"""What is written in a product's place multiplies whole numbers, and multiplies the right ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from compress.errors import CompressError
from compress.models.quantizers import QuantizedLinear
from compress.targets.onnx.lowering import QuantParams, lower_to_kernels, lower_to_qdq, module_of, products
from tests.targets.linears import (
    BATCH,
    LENGTH,
    Linear,
    answers,
    dynamic_product,
    operators,
    random_inputs,
    random_linear,
    static_product,
    write_linears,
)

NAME = "bert.pooler.dense"
SCALE = 2.0**-5
SYMMETRIC, SKEWED = (SCALE, 0), (SCALE, -90)
DIVISOR = np.array([0.5, 4.0, 1.0, 2.0, 0.25, 8.0], dtype=np.float32)  # powers of two, so that no rounding comes in
GRIDS = [(*SYMMETRIC, None), (*SKEWED, None), (*SYMMETRIC, DIVISOR), (*SKEWED, DIVISOR), (0.0123, 17, None)]
Loaded = Callable[..., ir.Model]


def grid(scale: float, zero: int, divisor: np.ndarray | None = None) -> QuantParams:
    return QuantParams(np.array(scale, dtype=np.float32), zero, divisor)


@pytest.fixture
def graph(tmp_path: Path) -> Loaded:
    """Write products and read the graph back."""

    def write(*linears: Linear, names: tuple[str, ...] = (NAME, "bert.b", "bert.c"), **more: Any) -> ir.Model:
        by_name = dict(zip(names, linears, strict=False))
        return ir.load(write_linears(tmp_path / "model.onnx", by_name, **more))

    return write


# -- static, in onnxruntime's kernels


@pytest.mark.parametrize("params", GRIDS)
@pytest.mark.parametrize("unsigned", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_static_kernel_equals_sums_of_whole_numbers(
    graph: Loaded, params: Any, unsigned: bool, bias: bool, per_channel: bool
) -> None:
    linear, values = random_linear(1, bias=bias), random_inputs()
    model = graph(linear)
    count = lower_to_kernels(model, products(model), {NAME: grid(*params)}, per_channel=per_channel, unsigned=unsigned)
    assert count == 1
    assert (
        operators(model) == ["QuantizeLinear", "MatMulIntegerToFloat"]
        if params[2] is None
        else ["Mul", "QuantizeLinear", "MatMulIntegerToFloat"]
    )
    expected = static_product(values, linear, *params, per_channel=per_channel)
    np.testing.assert_allclose(answers(model, values)[NAME], expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected - values @ linear.weight).max() > 0.05  # the grids are coarse enough to be seen


@pytest.mark.parametrize("qmax", [127, 63])
def test_seven_bits_keep_the_weights_within_63(graph: Loaded, qmax: int) -> None:
    linear, values = random_linear(2), random_inputs()
    model = graph(linear)
    lower_to_kernels(model, products(model), {NAME: grid(*SKEWED)}, per_channel=True, qmax=qmax)
    weight = model.graph.initializers[f"{NAME}.weight_int8"].const_value.numpy()
    assert weight.dtype == np.int8
    assert np.abs(weight.astype(int)).max(axis=0).tolist() == [qmax] * 4
    expected = static_product(values, linear, *SKEWED, qmax=qmax)
    np.testing.assert_allclose(answers(model, values)[NAME], expected, rtol=1e-5, atol=1e-5)


def test_values_outside_of_the_range_stay_at_its_ends(graph: Loaded) -> None:
    linear = Linear(np.eye(2, dtype=np.float32), None)
    model = graph(linear)
    lower_to_kernels(model, products(model), {NAME: grid(0.5, 28)}, per_channel=True)
    values = np.array([[[1000.0, -1000.0], [0.24, -0.26]]], dtype=np.float32)
    # from (-128 - 28) / 2 to (127 - 28) / 2; 0.24 is rounded to 0, -0.26 to -0.5
    np.testing.assert_allclose(answers(model, values)[NAME], [[[49.5, -78.0], [0.0, -0.5]]], rtol=1e-6)


def test_a_weight_of_zeros_gives_the_bias(graph: Loaded) -> None:
    linear = Linear(np.zeros((6, 4), dtype=np.float32), np.arange(4, dtype=np.float32))
    model = graph(linear)
    lower_to_kernels(model, products(model), {NAME: grid(*SYMMETRIC)}, per_channel=True)
    np.testing.assert_array_equal(answers(model, random_inputs())[NAME], np.broadcast_to(linear.bias, (BATCH, LENGTH, 4)))


# -- dynamic


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("qmax", [127, 63])
@pytest.mark.parametrize("shift", [0.0, 9.0, -9.0])
def test_a_dynamic_kernel_equals_the_formula_of_onnx(
    graph: Loaded, bias: bool, per_channel: bool, qmax: int, shift: float
) -> None:
    linear, values = random_linear(3, bias=bias), random_inputs(4) + np.float32(shift)  # the range holds 0 in any case
    model = graph(linear)
    lower_to_kernels(model, products(model), None, per_channel=per_channel, qmax=qmax)
    assert operators(model) == ["DynamicQuantizeLinear", "MatMulIntegerToFloat"]
    expected = dynamic_product(values, linear, qmax=qmax, per_channel=per_channel)
    np.testing.assert_allclose(answers(model, values)[NAME], expected, rtol=1e-5, atol=2e-5)


def test_a_dynamic_range_is_taken_once_for_products_that_read_the_same(graph: Loaded) -> None:
    linears = [random_linear(seed) for seed in (5, 6, 7)]
    model, values = graph(*linears), random_inputs(8)
    assert lower_to_kernels(model, products(model), None, per_channel=True) == 3
    assert operators(model).count("DynamicQuantizeLinear") == 1
    for name, linear in zip((NAME, "bert.b", "bert.c"), linears, strict=True):
        np.testing.assert_allclose(answers(model, values)[name], dynamic_product(values, linear), rtol=1e-5, atol=2e-5)


# -- pairs of Q and DQ


@pytest.mark.parametrize("params", GRIDS)
@pytest.mark.parametrize("unsigned", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_pairs_run_one_by_one_equal_sums_of_whole_numbers(graph: Loaded, params: Any, unsigned: bool, bias: bool) -> None:
    linear, values = random_linear(9, bias=bias), random_inputs(10)
    model = graph(linear)
    assert lower_to_qdq(model, products(model), {NAME: grid(*params)}, per_channel=True, unsigned=unsigned) == 1
    kinds = operators(model)
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear"), kinds.count("MatMul")) == (1, 2, 1)
    assert {node.domain for node in model.graph} == {""}  # standard operators alone
    expected = static_product(values, linear, *params)
    np.testing.assert_allclose(answers(model, values, as_written=True)[NAME], expected, rtol=1e-5, atol=1e-5)


def test_pairs_keep_to_seven_bits_where_they_are_asked_to(graph: Loaded) -> None:
    linear, values = random_linear(11), random_inputs(12)
    model = graph(linear)
    lower_to_qdq(model, products(model), {NAME: grid(*SKEWED)}, per_channel=True, qmax=63, unsigned=True)
    expected = static_product(values, linear, *SKEWED, qmax=63)
    np.testing.assert_allclose(answers(model, values, as_written=True)[NAME], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "write",
    [
        lambda model, grids: lower_to_kernels(model, products(model), grids, per_channel=True),
        lambda model, grids: lower_to_qdq(model, products(model), grids, per_channel=True, unsigned=True),
    ],
)
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (grid(*SYMMETRIC), 1),
        (grid(*SKEWED), 2),
        (grid(2 * SCALE, 0), 2),
        (grid(*SYMMETRIC, DIVISOR), 2),
    ],
)
def test_products_of_one_input_share_its_whole_numbers_where_the_grid_is_one(
    graph: Loaded, write: Any, other: QuantParams, expected: int
) -> None:
    linears, values = (random_linear(13), random_linear(14)), random_inputs(15)
    model, grids = graph(*linears), {NAME: grid(*SYMMETRIC), "bert.b": other}
    assert write(model, grids) == 2
    assert operators(model).count("QuantizeLinear") == expected
    outputs = answers(model, values, as_written=True)
    for (name, params), linear in zip(grids.items(), linears, strict=True):
        wanted = static_product(values, linear, float(params.scale), params.zero, params.divisor)
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-5, atol=1e-5)


# -- which products


@pytest.mark.parametrize("form", ["Gemm", "Gemm transB"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
def test_a_gemm_is_lowered_like_a_product_with_its_bias(graph: Loaded, form: str, bias: bool, pairs: bool) -> None:
    plain, values = random_linear(16, bias=bias), random_inputs(17, rank=2)
    stored = np.ascontiguousarray(plain.weight.T) if form == "Gemm transB" else plain.weight
    model = graph(Linear(stored, plain.bias, form))
    (product,) = products(model)
    assert (product.module, product.bias is not None) == (NAME, bias)
    np.testing.assert_array_equal(product.weight, plain.weight)
    np.testing.assert_allclose(
        answers(model, values)[NAME], values @ plain.weight + (plain.bias if bias else 0), rtol=1e-4, atol=1e-4
    )
    grids = {NAME: grid(*SKEWED)}
    if pairs:
        lower_to_qdq(model, [product], grids, per_channel=True, unsigned=True)
    else:
        lower_to_kernels(model, [product], grids, per_channel=True)
    assert "Gemm" not in operators(model)
    expected = static_product(values, plain, *SKEWED)
    np.testing.assert_allclose(answers(model, values, as_written=True)[NAME], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factors", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_a_gemm_with_factors_of_its_own_is_refused(tmp_path: Path, factors: dict[str, float]) -> None:
    path = write_linears(tmp_path / "model.onnx", {NAME: random_linear(18, form="Gemm")})
    model = ir.load(path)
    (node,) = model.graph
    for key, value in factors.items():
        node.attributes[key] = ir.Attr(key, ir.AttributeType.INT if key == "transA" else ir.AttributeType.FLOAT, value)
    with pytest.raises(CompressError, match=f"the product {NAME} has factors that cannot be lowered"):
        products(model)


def test_products_left_out_stay_float_bit_for_bit(graph: Loaded) -> None:
    """The classifier is left out unless another is."""
    linears, values = [random_linear(seed) for seed in (19, 20)], random_inputs(21)
    names = ("classifier", NAME)
    model = graph(*linears, names=names)
    before = answers(model, values)["classifier"]
    assert [product.module for product in products(model, left_out=[NAME])] == ["classifier"]
    assert [product.module for product in products(model, left_out=[])] == list(names)
    chosen = products(model)
    assert [product.module for product in chosen] == [NAME]
    lower_to_kernels(model, chosen, {NAME: grid(*SYMMETRIC)}, per_channel=True)
    assert operators(model) == ["MatMul", "Add", "QuantizeLinear", "MatMulIntegerToFloat"]
    outputs = answers(model, values)
    np.testing.assert_array_equal(outputs["classifier"], before)
    np.testing.assert_allclose(outputs[NAME], static_product(values, linears[1], *SYMMETRIC), rtol=1e-5, atol=1e-5)


def test_products_and_their_sums_are_called_as_the_module(graph: Loaded) -> None:
    model = graph(random_linear(22), random_linear(23, bias=False), names=(NAME, "classifier"))
    products(model)
    assert [node.name for node in model.graph] == [NAME, f"{NAME}.bias", "classifier"]


def test_a_product_without_a_constant_matrix_is_none(tmp_path: Path) -> None:
    """Neither the products inside of attention nor one with a constant on the left."""
    from onnx import TensorProto

    from tests.targets.linears import save_graph

    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["square"]),
        helper.make_node("MatMul", ["m", "square"], ["left"]),
        helper.make_node("MatMul", ["left", "v"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.ones((3, 3), np.float32), "m"), numpy_helper.from_array(np.ones(3, np.float32), "v")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    save_graph(tmp_path / "model.onnx", nodes, [x], [y], tensors)
    assert products(ir.load(tmp_path / "model.onnx")) == []


def test_a_sum_that_two_read_or_that_adds_no_vector_is_no_bias(graph: Loaded) -> None:
    model = graph(random_linear(24, bias=False))
    (node,) = model.graph
    more = ir.node("Add", [node.outputs[0], node.outputs[0]])
    model.graph.append(more)
    (product,) = products(model)
    assert product.bias is None


def test_one_number_for_all_columns_is_no_bias_of_the_kernel_and_is_added_all_the_same(graph: Loaded) -> None:
    """onnxruntime's kernel wants a bias for each column."""
    plain, values = random_linear(26, bias=False), random_inputs(27)
    model = graph(Linear(plain.weight, np.array([0.5], dtype=np.float32)))
    (product,) = products(model)
    assert product.bias is None
    lower_to_kernels(model, [product], {NAME: grid(*SKEWED)}, per_channel=True)
    expected = static_product(values, plain, *SKEWED) + 0.5
    np.testing.assert_allclose(answers(model, values)[NAME], expected, rtol=1e-5, atol=1e-5)


def test_a_node_that_no_scope_tells_of_belongs_to_no_module() -> None:
    assert module_of(ir.node("MatMul", [])) == ""


def test_what_nothing_reads_any_more_is_swept_out(graph: Loaded) -> None:
    """The float weight, the zeros that kernels do not take, and what lay about before."""
    stray = numpy_helper.from_array(np.zeros(1000, dtype=np.float32), "stray")
    model = graph(random_linear(25), constants=[stray])
    lower_to_kernels(model, products(model), {NAME: grid(*SYMMETRIC)}, per_channel=True)
    read = {value.name for node in model.graph for value in node.inputs if value is not None}
    assert set(model.graph.initializers) <= read
    assert not {"stray", f"model.{NAME}.weight"} & set(model.graph.initializers)


# -- the grid of a quantized Linear


@pytest.mark.parametrize(("symmetric", "expected"), [(True, (3 / 127, 0)), (False, (4 / 255, -64))])
def test_the_grid_of_a_linear_is_its_range_s(symmetric: bool, expected: tuple[float, int]) -> None:
    """From -1 to 3: symmetric, 127 steps hold 3; else 255 steps hold 4, and 0 stands 63.75 above the lowest, -128."""
    linear = QuantizedLinear(nn.Linear(2, 2), per_channel=True, symmetric=symmetric)
    linear.set_range(-1.0, 3.0)
    params = QuantParams.of(linear)
    assert (float(params.scale), params.zero, params.divisor) == (pytest.approx(expected[0], rel=1e-6), expected[1], None)
    linear.divisor = torch.tensor([1.0, 2.0])
    assert QuantParams.of(linear).divisor.tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    assert QuantParams.of(linear).key() != params.key()
