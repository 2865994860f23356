"""A float16 file answers in float16, or in float32 where a reader has no other."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compress.targets.exporting import export
from tests.tiny_models import tiny_bert, toy_task


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "kind"), [("float16", onnx.TensorProto.FLOAT16), ("float32", onnx.TensorProto.FLOAT)])
def test_answers_are_of_the_type_that_is_asked_for(tmp_path: Path, outputs: str, kind: int) -> None:
    folder = export(tiny_bert(), tmp_path / "out", target="onnxruntime-cuda-fp16", task=toy_task(), outputs=outputs).path
    graph = onnx.load(folder / "model.onnx").graph
    assert [(output.name, output.type.tensor_type.elem_type) for output in graph.output] == [("logits", kind)]
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.initializer)
