"""Embedding tables in whole numbers give the rounded rows; residual sums before LayerNorm are only written differently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import CompressError
from compress.targets.onnx.kernels import sums_before_norms
from compress.targets.onnx.lowering import lower_tables
from tests.targets.linears import answers, operators, save_graph

IDS = np.array([[0, 3, 3], [6, 1, 5]])


def some_rows(width: int = 6, count: int = 7) -> np.ndarray:
    """Rows of very different size, one of zeros."""
    rows = np.random.default_rng(1).normal(size=(count, width)) * 10.0 ** (np.arange(count) % 7 - 3)[:, None]
    rows[3] = 0
    return rows.astype(np.float32)


def write_tables(path: Path, **tables: np.ndarray) -> ir.Model:
    """A graph that looks the same ids up in each table."""
    nodes = [helper.make_node("Gather", [f"{name}.weight", "ids"], [name], name=f"node_{name}") for name in tables]
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "length", rows.shape[1]])
        for name, rows in tables.items()
    ]
    save_graph(
        path, nodes, [given], outputs, [numpy_helper.from_array(rows, f"{name}.weight") for name, rows in tables.items()]
    )
    return ir.load(path)


def rounded(rows: np.ndarray, qmax: int) -> np.ndarray:
    """Rows as whole numbers of their own scale tell them."""
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(qmax)
    return np.rint(np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0)) * scale


@pytest.mark.parametrize(("bits", "in_pairs", "qmax"), [(8, False, 127), (4, False, 7), (8, True, 127)])
@pytest.mark.parametrize("as_written", [True, False])
def test_rows_are_rounded_each_on_its_own_scale(
    tmp_path: Path, bits: int, in_pairs: bool, qmax: int, as_written: bool
) -> None:
    rows, others = some_rows(), some_rows(2, 8)[1:]
    model = write_tables(tmp_path / "model.onnx", words=rows, types=others)
    assert lower_tables(model, bits=bits, in_pairs=in_pairs) == 2
    outputs = answers(model, IDS, as_written=as_written)
    np.testing.assert_allclose(outputs["words"], rounded(rows, qmax)[IDS], rtol=1e-6)
    np.testing.assert_allclose(outputs["types"], rounded(others, qmax)[IDS], rtol=1e-6)
    assert np.abs(outputs["words"] - rows[IDS]).max() > 0


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(("bits", "qmax"), [(8, 127), (4, 7)])
def test_openvino_unpacks_every_byte_as_onnxruntime_does(tmp_path: Path, bits: int, qmax: int, precision: str) -> None:
    """Each of the 225 pairs of two four-bit numbers; what bfloat16 rounds is the product with the scale alone."""
    numbers = np.arange(-7, 8, dtype=np.float32)
    rows = np.concatenate([np.repeat(numbers[:, None], 15, axis=1), np.tile(numbers, (15, 1)), np.full((15, 2), 7)], axis=1)
    rows = rows[:, [*range(15), 30, *range(15, 30), 31]].astype(np.float32)  # the two sevens end the halves
    model, ids = write_tables(tmp_path / "model.onnx", words=rows), np.arange(15)[None]
    lower_tables(model, bits=bits)
    ir.save(model, tmp_path / "lowered.onnx")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(tmp_path / "lowered.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    looked_up = compiled({"ids": ids})["words"]
    np.testing.assert_allclose(looked_up, rounded(rows, qmax)[ids], rtol=1e-6 if precision == "f32" else 2**-7)
    np.testing.assert_allclose(answers(model, ids)["words"], rounded(rows, qmax)[ids], rtol=1e-6)


@pytest.mark.parametrize(("bits", "in_pairs", "bytes_per_number"), [(8, False, 1), (4, False, 0.5), (8, True, 1)])
def test_the_file_shrinks_to_the_bits_of_the_numbers(
    tmp_path: Path, bits: int, in_pairs: bool, bytes_per_number: float
) -> None:
    """A scale of four bytes comes with each row, in pairs a zero of one byte too; a kilobyte is left for nodes and names."""
    rows = some_rows(width=256, count=300)
    model = write_tables(tmp_path / "model.onnx", words=rows)
    lower_tables(model, bits=bits, in_pairs=in_pairs)
    ir.save(model, tmp_path / "lowered.onnx")
    assert (tmp_path / "model.onnx").stat().st_size >= rows.nbytes
    expected = rows.size * bytes_per_number + len(rows) * (5 if in_pairs else 4)
    assert expected < (tmp_path / "lowered.onnx").stat().st_size < expected + 2000
    assert not [tensor for tensor in onnx.load(tmp_path / "lowered.onnx").graph.initializer if tensor.name == "words.weight"]


def test_a_byte_of_four_bits_holds_a_number_of_either_half_of_the_row(tmp_path: Path) -> None:
    """Shifted by 8, -7 is 1, 0 is 8 and 7 is 15; the second half of the row stands in the upper bits."""
    model = write_tables(tmp_path / "model.onnx", words=np.array([[7, 0, -7, 3], [0.5, 0.2, -0.5, 0]], dtype=np.float32))
    lower_tables(model, bits=4)
    packed = model.graph.initializers["words.weight_int4"].const_value.numpy()
    # the second row's scale is 0.5 / 7, and 0.2 are 2.8 of them
    assert packed.tolist() == [[15 + 16 * 1, 8 + 16 * 11], [15 + 16 * 1, 11 + 16 * 8]]


def test_a_table_of_odd_width_cannot_have_four_bits(tmp_path: Path) -> None:
    model = write_tables(tmp_path / "model.onnx", words=some_rows(width=5))
    with pytest.raises(CompressError, match=r"the table words\.weight has 5 columns; an even number is needed .*: use 8"):
        lower_tables(model, bits=4)
    assert lower_tables(model, bits=8) == 1


def test_what_is_no_table_of_floats_stays(tmp_path: Path) -> None:
    """Numbers of positions, a vector, and rows that are computed."""
    nodes = [
        helper.make_node("Gather", ["positions", "ids"], ["places"]),
        helper.make_node("Gather", ["vector", "ids"], ["scalars"]),
        helper.make_node("Cast", ["ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "first"], ["rows"]),
    ]
    tensors = [
        numpy_helper.from_array(np.arange(14).reshape(7, 2), "positions"),
        numpy_helper.from_array(np.linspace(0, 1, 7, dtype=np.float32), "vector"),
        numpy_helper.from_array(np.array(0), "first"),
    ]
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    outputs = [
        helper.make_tensor_value_info("places", TensorProto.INT64, ["batch", "length", 2]),
        helper.make_tensor_value_info("scalars", TensorProto.FLOAT, ["batch", "length"]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["length"]),
    ]
    save_graph(tmp_path / "model.onnx", nodes, [given], outputs, tensors)
    model = ir.load(tmp_path / "model.onnx")
    before = ir.to_proto(model).SerializeToString()
    assert lower_tables(model) == 0
    assert ir.to_proto(model).SerializeToString() == before


# -- residual sums


def write_residuals(path: Path, count: int = 5) -> ir.Model:
    """Two residual sums, of which one alone is normalized, and a bias; the first `count` nodes of five."""
    vector = numpy_helper.from_array(np.array([1.0, 2.0, 3.0], dtype=np.float32), "vector")
    nodes = [
        helper.make_node("Add", ["x", "vector"], ["moved"], name="bias"),
        helper.make_node("Add", ["moved", "x"], ["total"], name="residual"),
        helper.make_node("LayerNormalization", ["total", "vector", "vector"], ["normal"], name="norm", axis=-1),
        helper.make_node("Add", ["normal", "total"], ["y"], name="another"),
        helper.make_node("LayerNormalization", ["x", "vector"], ["of_input"], name="norm_of_input", axis=-1),
    ]
    shape = ["batch", "length", 3]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    names = ("y", "of_input", "total") if count == 5 else ("normal",)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]
    save_graph(path, nodes[:count], [given], outputs, [vector])
    return ir.load(path)


def test_a_sum_before_a_norm_is_written_as_sum_and_no_other_node_changes(tmp_path: Path) -> None:
    model = write_residuals(tmp_path / "model.onnx")
    assert sums_before_norms(model) == 1
    assert operators(model) == ["Add", "Sum", "LayerNormalization", "Add", "LayerNormalization"]
    assert [node.name for node in model.graph if node.op_type != "Sum"] == ["bias", "norm", "another", "norm_of_input"]
    assert sums_before_norms(model) == 0


@pytest.mark.parametrize("as_written", [True, False])
def test_sums_before_norms_leave_the_answers(tmp_path: Path, as_written: bool) -> None:
    values = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)
    model = write_residuals(tmp_path / "model.onnx")
    before = answers(model, values, as_written=as_written)
    sums_before_norms(model)
    after = answers(model, values, as_written=as_written)
    total = 2 * values + np.array([1, 2, 3], dtype=np.float32)
    np.testing.assert_allclose(after["total"], total, rtol=1e-6)
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6)


def test_onnxruntime_keeps_the_sum_apart_from_the_norm(tmp_path: Path) -> None:
    """That is the point of it: of Add and LayerNormalization it makes one slow kernel."""
    from compress.runtimes.onnxruntime import running_graph

    model = write_residuals(tmp_path / "model.onnx", count=3)
    assert "SkipLayerNormalization" in [node.op_type for node in running_graph(tmp_path / "model.onnx").node]
    sums_before_norms(model)
    ir.save(model, tmp_path / "changed.onnx")
    assert "SkipLayerNormalization" not in [node.op_type for node in running_graph(tmp_path / "changed.onnx").node]
