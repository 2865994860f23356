from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.benchmark.counts import onnx_counts, onnx_macs, size_bytes, torch_macs
from compress.benchmark.subjects import subject_of
from compress.errors import InputError
from compress.runtimes.external_data import external_files
from tests.runtimes.files import with_external_data

Folder = Callable[..., Path]
# The random BERT: width 8, two heads, inner width 12. At length 10 a layer takes 4 * 8 * 8 * 10 for its projections,
# 2 * 8 * 12 * 10 for the feed-forward part and 2 * 10 * 10 * 8 inside attention.
LAYER = 2560 + 1920 + 1600
HEAD = 8 * 8 + 8 * 2


def weight(name: str, *shape: int, kind: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype=kind), name)


def write_graph(path: Path, nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto]) -> Path:
    """A graph from input_ids to logits; `words` are the ids looked up in a table of width 8."""
    lookup = helper.make_node("Gather", ["table", "input_ids"], ["words"])
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph([lookup, *nodes], "graph", inputs, [output], [weight("table", 12, 8), *weights])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
    return path


def fused(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, domain="com.microsoft", **attributes)


def test_a_torch_layer_is_counted_by_the_formula(bert: Any) -> None:
    assert torch_macs(bert, 10) == 2 * LAYER + HEAD


def test_a_longer_example_costs_more_inside_attention_by_its_square(bert: Any) -> None:
    at_ten, at_twenty = torch_macs(bert, 10), torch_macs(bert, 20)
    assert at_twenty - 2 * at_ten == 2 * (2 * 20 * 20 * 8 - 2 * 2 * 10 * 10 * 8) - HEAD


def test_a_dropped_layer_is_not_counted(bert: Any) -> None:
    del bert.bert.encoder.layer[1]
    assert torch_macs(bert, 10) == LAYER + HEAD


def test_a_layer_that_runs_twice_is_counted_twice(bert: Any) -> None:
    layers = bert.bert.encoder.layer
    layers[1] = layers[0]
    assert torch_macs(bert, 10) == 2 * LAYER + HEAD


def test_a_narrower_layer_is_counted_at_its_own_width(bert: Any) -> None:
    from torch import nn

    layer = bert.bert.encoder.layer[1]
    layer.intermediate.dense, layer.output.dense = nn.Linear(8, 5), nn.Linear(5, 8)
    assert torch_macs(bert, 10) == 2 * LAYER - 2 * 8 * (12 - 5) * 10 + HEAD


def test_a_projection_inside_the_embeddings_sees_every_token(bert: Any) -> None:
    from torch import nn

    bert.bert.embeddings.projection = nn.Linear(4, 8)
    assert torch_macs(bert, 10) == 2 * LAYER + HEAD + 4 * 8 * 10


def test_the_size_of_a_torch_model_is_that_of_its_weights(torch_folder: Path) -> None:
    assert size_bytes(subject_of(torch_folder)) == (torch_folder / "model.safetensors").stat().st_size


def test_the_size_of_an_onnx_file_is_the_file_alone_and_nothing_beside_it(onnx_folder: Folder) -> None:
    folder = onnx_folder(tokenizer=True)
    (folder / "model.onnx.bak").write_bytes(b"x" * 1000)
    assert size_bytes(subject_of(folder)) == (folder / "model.onnx").stat().st_size


def test_the_size_of_an_onnx_file_takes_in_its_external_data_once(onnx_folder: Folder) -> None:
    folder = onnx_folder()
    whole = (folder / "model.onnx").stat().st_size
    onnx.save(
        onnx.load(folder / "model.onnx"),
        folder / "model.onnx",
        save_as_external_data=True,
        location="data.bin",
        size_threshold=0,
    )
    files = [folder / "model.onnx", folder / "data.bin"]
    assert external_files(files[0]) == files[1:]
    assert size_bytes(subject_of(folder)) == sum(file.stat().st_size for file in files)
    assert files[0].stat().st_size < whole + 400


@pytest.mark.parametrize("location", ["gone.bin", "/etc/passwd", "../../../../etc/passwd"])
def test_a_file_whose_data_is_missing_or_elsewhere_has_no_size(onnx_folder: Folder, location: str) -> None:
    folder = onnx_folder()
    with_external_data(folder / "model.onnx", location)
    with pytest.raises(InputError, match=rf"model\.onnx keeps weights in '{location}'"):
        size_bytes(subject_of(folder))


def test_the_parameters_of_an_onnx_file_are_the_elements_of_its_constants(onnx_folder: Folder) -> None:
    # a table of 12 words by 2 labels, an identity of 2 by 2, and two axes
    expected = {"parameters": 24 + 4 + 2, "integer_ops": 0, "macs": 2 * 2}
    assert onnx_counts(onnx_folder() / "model.onnx", 7) == expected


def test_products_of_matrices_are_output_elements_times_inner_length(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["words", "wide"], ["inner"]),  # (1, 5, 8) x (8, 6): 5 * 6 * 8
        helper.make_node("Transpose", ["inner"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["inner", "turned"], ["scores"]),  # (1, 5, 6) x (1, 6, 5): 5 * 5 * 6
        helper.make_node("MatMul", ["scores", "inner"], ["mixed"]),  # (1, 5, 5) x (1, 5, 6): 5 * 6 * 5
        helper.make_node("Gather", ["mixed", "first"], ["one"], axis=1),
        helper.make_node("Gemm", ["one", "narrow", "bias"], ["logits"], transB=1),  # (1, 6) x (6, 3): 3 * 6
    ]
    first = numpy_helper.from_array(np.array(0), "first")
    weights = [weight("wide", 8, 6), weight("narrow", 3, 6), weight("bias", 3), first]
    assert onnx_macs(write_graph(tmp_path / "model.onnx", nodes, weights), 5) == 240 + 150 + 150 + 18


def test_integer_products_are_counted_and_other_integer_operators_are_not(tmp_path: Path) -> None:
    scale, zero = numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["words"], ["bytes", "size", "offset"]),
        helper.make_node("MatMulInteger", ["bytes", "small", "offset"], ["sums"]),  # (1, 5, 8) x (8, 3): 5 * 3 * 8
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["floats", "scale", "zero"], ["again"]),
        fused("QLinearAdd", ["again", "scale", "zero", "again", "scale", "zero", "scale", "zero"], ["doubled"]),
        helper.make_node("DequantizeLinear", ["doubled", "scale", "zero"], ["logits"]),
    ]
    path = write_graph(tmp_path / "model.onnx", nodes, [weight("small", 8, 3, kind=np.int8), scale, zero])
    assert onnx_counts(path, 5) == {"parameters": 12 * 8 + 8 * 3 + 2, "integer_ops": 1, "macs": 120}


def test_fused_attention_is_counted_with_its_projections_and_inner_products(tmp_path: Path) -> None:
    node = fused("Attention", ["words", "projections", "bias"], ["logits"], num_heads=2)
    path = write_graph(tmp_path / "model.onnx", [node], [weight("projections", 8, 24), weight("bias", 24)])
    assert onnx_macs(path, 10) == 3 * 8 * 8 * 10 + 2 * 10 * 10 * 8


def test_fused_attention_without_projections_is_counted_with_its_inner_products(tmp_path: Path) -> None:
    node = fused("MultiHeadAttention", ["words", "words", "words"], ["logits"], num_heads=2)
    assert onnx_macs(write_graph(tmp_path / "model.onnx", [node], []), 10) == 2 * 10 * 10 * 8


def test_a_file_that_cannot_run_at_the_length_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["words", "positions"], ["logits"])
    path = write_graph(tmp_path / "model.onnx", [node], [weight("positions", 1, 4, 8)])
    with pytest.raises(InputError, match=r"model\.onnx cannot be run at length 9"):
        onnx_macs(path, 9)


def test_a_file_without_logits_is_refused_by_its_output(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", [helper.make_node("Relu", ["words"], ["logits"])], [])
    stored = onnx.load(path)
    stored.graph.node[1].output[0] = stored.graph.output[0].name = "hidden"
    onnx.save(stored, path)
    with pytest.raises(InputError, match="gives hidden; an output called logits is needed"):
        onnx_macs(path, 5)


def test_a_file_that_is_no_onnx_is_refused(onnx_folder: Folder) -> None:
    folder = onnx_folder()
    (folder / "model.onnx").write_bytes(json.dumps({"not": "a graph"}).encode())
    with pytest.raises(InputError, match=r"model\.onnx"):
        onnx_counts(folder / "model.onnx", 5)
