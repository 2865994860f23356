"""What TensorRT demands of a file with Q and DQ is checked before anything is shipped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from compress.errors import CompressError, InputError
from compress.models.quantizers import with_quantizers
from compress.targets.exporting import export
from compress.targets.onnx.lowering import QuantParams, lower_to_qdq, products
from compress.targets.tensorrt_int8 import check_explicit_quantization, left_float
from tests.targets.linears import random_linear, write_linears
from tests.tiny_models import tiny_bert, toy_task

GRIDS = {
    "bert.a": QuantParams(np.float32(0.01), 0, None),
    "bert.b": QuantParams(np.float32(0.02), 0, None),
    "bert.c": QuantParams(np.float32(0.03), 0, np.arange(1, 7, dtype=np.float32)),
}
Change = Callable[[onnx.GraphProto], object]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Three products between pairs, and the classifier."""
    linears = {name: random_linear(seed) for seed, name in enumerate((*GRIDS, "classifier"))}
    path = write_linears(tmp_path / "model.onnx", linears)
    model = ir.load(path)
    lower_to_qdq(model, products(model), GRIDS, per_channel=True, unsigned=False)
    ir.save(model, path)
    return path


def changed(path: Path, change: Change) -> Path:
    proto = onnx.load(path)
    change(proto.graph)
    onnx.save(proto, path)
    return path


def constant(graph: onnx.GraphProto, end: str, values: Any) -> None:
    """Give the first constant whose name ends so another content."""
    tensor = next(initializer for initializer in graph.initializer if initializer.name.endswith(end))
    old = numpy_helper.to_array(tensor)
    new = np.asarray(values)
    tensor.CopyFrom(numpy_helper.from_array(np.broadcast_to(new, old.shape).copy(), tensor.name))


def node(graph: onnx.GraphProto, kind: str, weight: bool = False) -> onnx.NodeProto:
    """The first node of a kind; of a weight, or not."""
    return next(operator for operator in graph.node if operator.op_type == kind and ("weight" in operator.input[0]) is weight)


def test_the_products_between_pairs_are_counted(good: Path) -> None:
    assert check_explicit_quantization(good) == 3


def test_the_product_that_stays_float_is_named(good: Path) -> None:
    assert left_float(onnx.load(good).graph) == ("classifier",)


def test_a_float_file_has_none(tmp_path: Path) -> None:
    assert check_explicit_quantization(write_linears(tmp_path / "model.onnx", {"bert.a": random_linear(1)})) == 0


def test_a_product_with_one_float_side_does_not_count(good: Path) -> None:
    def plain_input(graph: onnx.GraphProto) -> None:
        reader = next(operator for operator in graph.node if operator.op_type == "MatMul" and operator.name == "bert.a")
        reader.input[0] = "x"
        back = next(
            operator for operator in graph.node if operator.op_type == "DequantizeLinear" and "weight" not in operator.input[0]
        )
        graph.node.remove(next(operator for operator in graph.node if back.input[0] in operator.output))
        graph.node.remove(back)

    assert check_explicit_quantization(changed(good, plain_input)) == 2
    assert left_float(onnx.load(good).graph) == ("bert.a", "classifier")


@pytest.mark.parametrize(
    ("end", "values", "expected"),
    [
        (".zero", np.int8(3), "a zero point that is not 0"),
        ("weight_zero", np.int8([0, 0, 0, 1]), "a zero point that is not 0"),
        ("x.scale", np.float32(0.0), "scale that is not positive"),
        ("x.scale", np.float32(-0.01), "scale that is not positive"),
        ("weight_scale", np.float32([1, 1, -1, 1]), "scale that is not positive"),
        ("weight_scale", np.float32([1, 1, np.nan, 1]), "scale that is not positive"),
    ],
)
def test_other_zeros_and_scales_are_refused(good: Path, end: str, values: Any, expected: str) -> None:
    with pytest.raises(CompressError, match=f"tensorrt-int8: .* {expected}"):
        check_explicit_quantization(changed(good, lambda graph: constant(graph, end, values)))


def test_unsigned_activations_are_refused(tmp_path: Path) -> None:
    path = write_linears(tmp_path / "model.onnx", {"bert.a": random_linear(1)})
    model = ir.load(path)
    lower_to_qdq(model, products(model), GRIDS, per_channel=True, unsigned=True)
    ir.save(model, path)
    with pytest.raises(CompressError, match="no constant scale with a signed zero point"):
        check_explicit_quantization(path)


def test_a_scale_that_is_computed_is_refused(good: Path) -> None:
    def compute(graph: onnx.GraphProto) -> None:
        graph.node.insert(0, helper.make_node("Abs", ["x.scale"], ["computed"]))
        for operator in graph.node:
            if operator.op_type in ("QuantizeLinear", "DequantizeLinear") and operator.input[1] == "x.scale":
                operator.input[1] = "computed"

    with pytest.raises(CompressError, match="has no constant scale"):
        check_explicit_quantization(changed(good, compute))


def test_a_weight_without_its_axis_is_refused(good: Path) -> None:
    with pytest.raises(CompressError, match=r"the weight of bert\.a has no scale per output column"):
        check_explicit_quantization(changed(good, lambda graph: node(graph, "DequantizeLinear", True).ClearField("attribute")))


def test_a_weight_with_a_scale_per_row_is_refused(tmp_path: Path) -> None:
    path = write_linears(tmp_path / "model.onnx", {"bert.a": random_linear(1, 4, 4)})
    model = ir.load(path)
    lower_to_qdq(model, products(model), GRIDS, per_channel=True, unsigned=False)
    ir.save(model, path)

    def turn(graph: onnx.GraphProto) -> None:
        node(graph, "DequantizeLinear", True).attribute[0].i = 0

    with pytest.raises(CompressError, match="has no scale per output column"):
        check_explicit_quantization(changed(path, turn))


@pytest.mark.parametrize("reader", ["nobody", "another"])
def test_whole_numbers_that_are_not_dequantized_are_refused(good: Path, reader: str) -> None:
    def take_away(graph: onnx.GraphProto) -> None:
        back = node(graph, "DequantizeLinear")
        position = list(graph.node).index(back)
        cast = helper.make_node("Cast", [back.input[0] if reader == "another" else "x"], [back.output[0]], to=1)
        graph.node.remove(back)
        graph.node.insert(position, cast)

    with pytest.raises(CompressError, match="quantizes is not dequantized"):
        check_explicit_quantization(changed(good, take_away))


def test_a_model_with_ranges_that_are_not_symmetric_is_refused(tmp_path: Path) -> None:
    model = with_quantizers(tiny_bert(), per_channel=True, symmetric=False)
    with pytest.raises(InputError, match=r"tensorrt-int8 needs symmetric ranges; train with quantize_aware's symmetric: true"):
        export(model, tmp_path / "out", target="tensorrt-int8", task=toy_task())
    assert not os.listdir(tmp_path)


def test_a_zero_point_that_is_left_out_is_told(good: Path) -> None:
    """Without it, whole numbers are unsigned."""

    def leave_out(graph: onnx.GraphProto) -> None:
        for operator in graph.node:
            if operator.op_type in ("QuantizeLinear", "DequantizeLinear"):
                del operator.input[2]

    with pytest.raises(CompressError, match="has no constant scale with a signed zero point"):
        check_explicit_quantization(changed(good, leave_out))
