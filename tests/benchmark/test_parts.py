from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from compress.benchmark.parts import part_of, size_by_part
from compress.benchmark.subjects import Subject


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bert.embeddings.word_embeddings.weight", "word table"),
        ("model.bert.embeddings.word_embeddings.weight_int8", "word table"),
        ("bert.embeddings.LayerNorm.weight", "other embeddings"),
        ("bert.encoder.layer.11.output.dense.weight", "layer 11"),
        ("encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", "layer 0"),
        ("model.layers.3.attn.Wqkv.weight", "layer 3"),
        ("classifier.weight", "head"),
        ("bert.pooler.dense.bias", "head"),
        ("val_64", None),
    ],
)
def test_a_name_tells_the_part(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_the_tensors_of_a_torch_model_are_counted_by_part(tmp_path: Path) -> None:
    tensors = {
        "bert.embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32),
        "bert.encoder.layer.1.output.dense.weight": np.zeros((4, 4), np.float16),
        "bert.encoder.layer.0.output.dense.weight": np.zeros((4, 4), np.float32),
        "classifier.bias": np.zeros(2, np.float32),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    size = path.stat().st_size
    parts = size_by_part(Subject("a", "torch", "torch", tmp_path), size)
    assert parts == {"word table": 160, "layer 0": 64, "layer 1": 32, "head": 8, "the rest": size - 264}
    assert list(parts) == ["word table", "layer 0", "layer 1", "head", "the rest"]


def test_a_weight_that_lost_its_name_belongs_to_the_bias_that_follows(tmp_path: Path) -> None:
    tensors = [
        numpy_helper.from_array(np.zeros((2, 3), np.float32), "val_1"),
        numpy_helper.from_array(np.zeros(3, np.float32), "layer.0.output.bias"),
        numpy_helper.from_array(np.zeros((3, 2), np.int8), "val_2"),
        helper.make_tensor("unused", TensorProto.UINT4, [5], bytes(3), raw=True),
    ]
    nodes = [
        helper.make_node("MatMul", ["input_ids", "val_1"], ["a"]),
        helper.make_node("Add", ["a", "layer.0.output.bias"], ["b"]),
        helper.make_node("MatMul", ["b", "val_2"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input_ids", "logits")]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), path)
    size = path.stat().st_size
    parts = size_by_part(Subject("a", "onnx", "onnxruntime-cpu", tmp_path), size)
    assert parts == {"layer 0": 24 + 12, "head": 6, "the rest": size - 42}


def test_the_parts_of_a_file_are_all_of_it(onnx_folder: Callable[..., Path]) -> None:
    folder = onnx_folder("right", tokenizer=True)
    size = (folder / "model.onnx").stat().st_size
    assert sum(size_by_part(Subject("right", "onnx", "onnxruntime-cpu", folder), size).values()) == size
