"""What an ONNX file holds, and what onnxruntime runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.runtimes.onnxruntime import kernels_of, running_graph
from compress.targets.onnx.graph import facts_in_file, in_onnxruntime, write_graph
from compress.targets.onnx.lowering import QuantParams, lower_to_kernels, products
from compress.targets.openvino_cpu import in_openvino
from tests.targets.graphs import BagOfWords, write_bag_of_words
from tests.targets.linears import Linear, random_linear, save_graph, write_linears


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A file built by hand."""
    model = BagOfWords()
    return write_bag_of_words(tmp_path / "model.onnx", model.table, model.matrix)


def test_facts_are_read_from_the_file_s_own_metadata(bag: Path) -> None:
    assert facts_in_file(bag) == {}
    proto = onnx.load(bag)
    helper.set_model_props(proto, {"weight_bits": "7", "safe_on": "every processor"})
    onnx.save(proto, bag)
    assert facts_in_file(bag) == {"weight_bits": "7", "safe_on": "every processor"}


def test_operators_are_counted_after_onnxruntime_s_own_fusions(tmp_path: Path) -> None:
    """A product and a sum become one operator, and a node that does nothing goes."""
    weight = numpy_helper.from_array(np.ones((3, 2), dtype=np.float32), "weight")
    bias = numpy_helper.from_array(np.ones(2, dtype=np.float32), "bias")
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("MatMul", ["same", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size]) for name, size in (("x", 3), ("y", 2)))
    proto = helper.make_model(
        helper.make_graph(nodes, "sum", [x], [y], [weight, bias]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(proto, tmp_path / "model.onnx")
    assert [node.op_type for node in running_graph(tmp_path / "model.onnx").node] == ["Gemm"]


def test_counting_operators_leaves_the_folder_as_it_was(bag: Path) -> None:
    content = bag.read_bytes()
    assert [node.op_type for node in running_graph(bag).node].count("Gather") == 1
    assert [path.name for path in bag.parent.iterdir()] == ["model.onnx"]
    assert bag.read_bytes() == content


def test_a_product_with_a_constant_weight_that_stays_float_is_named(bag: Path) -> None:
    proto = onnx.load(bag)
    for node in proto.graph.node:
        node.name = f"{node.op_type} of {node.output[0]}"
    onnx.save(proto, bag)
    opened = in_onnxruntime(bag)
    assert opened.integer_ops == 0
    assert opened.stayed_float == ("MatMul of plain",)


def test_products_on_integers_are_counted_and_those_left_out_are_named(tmp_path: Path) -> None:
    """onnxruntime fuses a product with its bias where it has two dimensions, under the product's name."""
    names = ("bert.a", "bert.b", "classifier")
    linears = {name: random_linear(seed, form="Gemm" if name == "classifier" else "MatMul") for seed, name in enumerate(names)}
    path = write_linears(tmp_path / "model.onnx", linears)
    model = ir.load(path)
    chosen = [product for product in products(model) if product.module == "bert.a"]
    lower_to_kernels(model, chosen, {"bert.a": QuantParams(np.float32(0.1), 0, None)}, per_channel=True)
    ir.save(model, path)
    kernels = kernels_of(path)
    assert kernels.integer_ops == 1
    assert kernels.stayed_float == ("bert.b", "classifier")


def test_openvino_s_name_for_the_product_that_gives_an_output_is_its_module(bag: Path) -> None:
    """OpenVINO calls it `logits`."""
    proto = onnx.load(bag)
    shift = next(tensor for tensor in proto.graph.initializer if tensor.name == "shift")
    shift.CopyFrom(numpy_helper.from_array(np.zeros(2, dtype=np.float32), "shift"))  # a bias, as a head has
    model = ir.from_proto(proto)
    assert products(model) == []
    ir.save(model, bag)
    assert in_openvino(bag).stayed_float == ("classifier",) == in_onnxruntime(bag).stayed_float


@pytest.mark.parametrize("form", ["Gemm", "Gemm transB"])
def test_a_gemm_that_stays_float_keeps_its_name(tmp_path: Path, form: str) -> None:
    weight = np.arange(16, dtype=np.float32).reshape(4, 4)
    linears = {"bert.a": Linear(weight, np.ones(4, dtype=np.float32), form), "classifier": Linear(weight, None, form)}
    path = write_linears(tmp_path / "model.onnx", linears)
    model = ir.load(path)
    assert [product.node.name for product in products(model)] == ["bert.a"]
    ir.save(model, path)
    assert kernels_of(path).stayed_float == ("bert.a", "classifier")


def test_products_of_two_inputs_are_no_weights_that_stayed_float(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "rows"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "rows"])
    save_graph(tmp_path / "model.onnx", [helper.make_node("MatMul", ["x", "x"], ["y"], name="scores")], [x], [y], [])
    assert kernels_of(tmp_path / "model.onnx").stayed_float == ()


def test_inputs_that_the_tokenizer_does_not_give_are_zeros(bag: Path) -> None:
    ids = np.array([[5, 6]])
    mask = np.zeros_like(ids)  # nothing counts, so that only the shift of 0 is left
    np.testing.assert_array_equal(in_onnxruntime(bag).run({"input_ids": ids, "attention_mask": mask}), [[0.0, 0.0]])


def test_an_exporter_that_fails_is_told_in_one_sentence(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.onnx.OnnxExporterError("a long story\nno such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(CompressError, match=r"could not be exported to ONNX: no such operator\. See --debug"):
        write_graph(model, tmp_path / "model.onnx")
    assert model.config._attn_implementation == "sdpa"
    assert "forward" not in vars(model.bert.encoder.layer[-1])
