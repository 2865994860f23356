from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.benchmark import layer_errors as module
from compress.benchmark.layer_errors import errors_of, layer_errors, norms_of
from compress.benchmark.subjects import Subject
from compress.errors import CompressError
from compress.tasks.encoding import Encoded

WEIGHTS = {
    "bert.embeddings.LayerNorm.weight": "norm_0",
    "bert.encoder.layer.0.attention.output.LayerNorm.weight": "norm_1",
    "bert.encoder.layer.0.output.LayerNorm.weight": "norm_2",
}


def written(folder: Path, factors: tuple[float, ...], *, integers: bool = False) -> Path:
    """A file of three normalizations, each times a factor, the first of the inputs and each other of the one before."""
    folder.mkdir()
    tensors = [numpy_helper.from_array(np.ones(4, np.float32), name) for name in WEIGHTS]
    tensors += [numpy_helper.from_array(np.array([factor], np.float32), f"factor_{i}") for i, factor in enumerate(factors)]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["cast", "axes"], ["wide"]),
        helper.make_node("Mul", ["wide", "scale"], ["x_0"]),
    ]
    tensors.append(numpy_helper.from_array(np.array([2], np.int64), "axes"))
    tensors.append(numpy_helper.from_array(np.array([1.0, -1.0, 2.0, -3.0], np.float32), "scale"))
    for number, (weight, output) in enumerate(WEIGHTS.items()):
        nodes.append(helper.make_node("Mul", [f"x_{number}", f"factor_{number}"], [f"scaled_{number}"]))
        inputs = [f"scaled_{number}", weight, *([f"shift_{number}"] if number else [])]
        tensors += [numpy_helper.from_array(np.full(4, factors[number] - 1, np.float32), f"shift_{number}")] if number else []
        nodes.append(helper.make_node("LayerNormalization", inputs, [output], axis=-1))
        nodes.append(helper.make_node("Identity", [output], [f"x_{number + 1}"]))
    ends = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    outs = [helper.make_tensor_value_info("x_3", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", ends, outs, tensors), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "model.onnx")
    return folder


def entry(integer_ops: int) -> dict[str, Any]:
    return {"integer_ops": integer_ops, "size_bytes": 1000}


@pytest.fixture
def pair(tmp_path: Path) -> list[Subject]:
    """A float file, and one whose last normalization is shifted by a half."""
    folders = [written(tmp_path / "float", (1.0, 1.0, 1.0)), written(tmp_path / "int8", (1.0, 1.0, 1.5))]
    return [Subject(folder.name, "onnx", folder.name, folder) for folder in folders]


def test_the_normalizations_are_called_by_what_they_end(pair: list[Subject]) -> None:
    names = norms_of(onnx.load(pair[0].path / "model.onnx").graph)
    assert names == {"norm_0": "embeddings", "norm_1": "layer 0, attention", "norm_2": "layer 0"}


def test_an_error_is_told_where_it_is_made(pair: list[Subject]) -> None:
    batch = {"input_ids": np.array([[1, 2, 3], [4, 5, 0]]), "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])}
    paths = [subject.path / "model.onnx" for subject in pair]
    errors = errors_of(paths, ["norm_0", "norm_1", "norm_2"], batch)
    # A normalized row has a mean square of 1 (but for epsilon); a shift by 0.5 is half of it.
    assert errors == [0.0, 0.0, pytest.approx(0.5, abs=1e-3)]


def test_an_int8_file_is_compared_with_the_float_one(pair: list[Subject], rows: Callable[..., Encoded]) -> None:
    encoded = dict.fromkeys(("float", "int8"), rows([[1, 2, 3], [4, 5]]))
    compared = layer_errors(pair, [entry(0), entry(6)], encoded)
    assert list(compared) == ["int8"]
    assert (compared["int8"]["against"], compared["int8"]["examples"]) == ("float", 2)
    layers = compared["int8"]["layers"]
    assert [layer["name"] for layer in layers] == ["embeddings", "layer 0, attention", "layer 0"]
    assert [layer["relative_error"] for layer in layers] == [0.0, 0.0, pytest.approx(0.5, abs=1e-3)]


def test_without_a_float_file_or_names_in_common_there_is_nothing(
    pair: list[Subject], rows: Callable[..., Encoded], onnx_folder: Callable[..., Path]
) -> None:
    encoded = dict.fromkeys(("float", "int8", "plain"), rows([[1, 2]]))
    assert layer_errors(pair, [entry(6), entry(6)], encoded) == {}
    plain = Subject("plain", "onnx", "onnxruntime-cpu", onnx_folder("plain"))
    assert layer_errors([plain, pair[1]], [entry(0), entry(6)], encoded) == {}
    torch_model = Subject("float", "torch", "torch", pair[0].path)
    assert layer_errors([torch_model, pair[1]], [entry(0), entry(6)], encoded) == {}


def test_files_that_cannot_be_compared_are_told_and_measured_all_the_same(
    pair: list[Subject], rows: Callable[..., Encoded], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*given: Any) -> Any:
        raise CompressError("it crashed.")

    monkeypatch.setattr(module, "_compared", refuse)
    encoded = dict.fromkeys(("float", "int8"), rows([[1, 2]]))
    assert layer_errors(pair, [entry(0), entry(6)], encoded) == {}
    assert "the layers of int8 are not compared with those of float: it crashed." in caplog.text
