"""What an ONNX file holds, and what onnxruntime runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.export.graph import note_in_file, running_operators, session, write_graph
from tests.export.graphs import BagOfWords, write_bag_of_words


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A file built by hand."""
    model = BagOfWords()
    return write_bag_of_words(tmp_path / "model.onnx", model.table, model.matrix)


def test_facts_are_found_in_the_file_and_the_graph_stays(bag: Path) -> None:
    before = onnx.load(bag).graph.SerializeToString()
    note_in_file(bag, {"weight_bits": "7", "safe": "True"})
    assert session(bag).get_modelmeta().custom_metadata_map == {"weight_bits": "7", "safe": "True"}
    assert onnx.load(bag).graph.SerializeToString() == before


def test_operators_are_counted_after_onnxruntime_s_own_fusions(tmp_path: Path) -> None:
    """A product and a sum become one operator, and a node that does nothing goes."""
    weight = numpy_helper.from_array(np.ones((3, 2), dtype=np.float32), "weight")
    bias = numpy_helper.from_array(np.ones(2, dtype=np.float32), "bias")
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]), helper.make_node("MatMul", ["same", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["y"]),
    ]  # fmt: skip
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size]) for name, size in (("x", 3), ("y", 2)))
    proto = helper.make_model(helper.make_graph(nodes, "sum", [x], [y], [weight, bias]),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=9)  # fmt: skip
    onnx.save(proto, tmp_path / "model.onnx")
    assert dict(running_operators(tmp_path / "model.onnx")) == {"Gemm": 1}


def test_counting_operators_leaves_the_folder_as_it_was(bag: Path) -> None:
    content = bag.read_bytes()
    assert running_operators(bag)["Gather"] == 1
    assert [path.name for path in bag.parent.iterdir()] == ["model.onnx"]
    assert bag.read_bytes() == content


def test_threads_are_those_asked_for(bag: Path) -> None:
    assert session(bag, threads=2).get_session_options().intra_op_num_threads == 2


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
