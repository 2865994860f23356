"""The file that reads segments in whole numbers answers as the model that reads them, however many there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.facts import read_facts
from compress.methods.quantize_aware import quantize_aware
from compress.methods.swap_attention import swap_attention
from compress.models.attention.segments import TransformerXL
from compress.runtimes.segment_reader import open_segment_file
from compress.targets.exporting import export
from compress.targets.onnx.segment import DRIFT, in_torch
from compress.targets.onnx.versions import versions_of
from compress.training.step_context import StepContext
from tests.targets.quantized import wide_bert
from tests.tiny_models import logits_of, tiny_bert, toy_task

pytestmark = pytest.mark.slow
SEGMENT = 10
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic": ("onnxruntime-cpu-int8", {}),
    "static": ("onnxruntime-cpu-int8", {"activations": "static"}),
    "four bits": ("onnxruntime-cpu-int8", {"embedding_bits": 4, "max_relative_error": 2.0, "max_flips": 1.0}),
    "openvino": ("openvino-cpu-int8", {"precision": "float32"}),
}


def student_of(kind: Any) -> Any:
    model = swap_attention(wide_bert(), task=toy_task(max_length=600), max_length=600, kind=kind, segment=SEGMENT)
    for module in model.modules():
        if isinstance(module, TransformerXL):
            torch.nn.init.normal_(module.memory_bias)
    return model


def runtime_of(target: str) -> Any:
    return "openvino" if target.startswith("openvino") else "onnxruntime"


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["transformer_xl", "chunk_and_pool"])
@pytest.mark.parametrize("form", FORMS)
def test_the_integer_file_reads_on_as_the_model_does(form: str, kind: str, tmp_path: Path) -> None:
    (target, options), student = FORMS[form], student_of(kind)
    task = toy_task(others=32)
    shipped = export(student, tmp_path / "out", target=target, task=task, memory=True, **options)
    whole, segment = shipped.stages[-2:]
    assert [whole.name, segment.name] == ["int8", "segment"]
    assert segment.integer_ops == whole.integer_ops == 2 * 6 + 1
    assert versions_of(shipped.path / "segment.onnx") == (8, 20)
    facts = read_facts(shipped.path)
    assert facts.last_accepted_stage["name"] == "int8"
    assert facts.segment is not None
    assert facts.segment.tokens == SEGMENT
    assert list(facts.segment.drift) == [str(number) for number in DRIFT] == ["1", "4", "16", "64"]
    if form != "four bits":
        assert 0 < max(facts.segment.drift.values()) < 0.5
        assert facts.segment.drift["64"] < 2 * max(facts.segment.drift["1"], facts.segment.drift["4"])
    reader = cp.SegmentReader(shipped.path, runtime=runtime_of(target), threads=1)
    texts = list(task.evaluation.texts)
    labels = [logits_of(student, **student.tokenizer(text, return_tensors="pt")).argmax().item() for text in texts]
    same = np.mean([reader.read(text).argmax() == label for text, label in zip(texts, labels, strict=True)])
    assert same >= (0.5 if form == "four bits" else 0.9)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["transformer_xl", "chunk_and_pool"])
def test_the_integer_file_is_smaller(kind: str, tmp_path: Path) -> None:
    student, sizes = student_of(kind), {}
    for target in ("onnxruntime-cpu", "onnxruntime-cpu-int8"):
        path = export(student, tmp_path / target, target=target, task=toy_task(), memory=True).path / "segment.onnx"
        sizes[target] = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)
    assert sizes["onnxruntime-cpu-int8"] < 0.4 * sizes["onnxruntime-cpu"]


@pytest.mark.matrix
def test_a_model_that_learned_its_ranges_reads_segments_with_them(tmp_path: Path) -> None:
    task = toy_task()
    tuned = quantize_aware(
        student_of("transformer_xl"), task=task, epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu")
    )
    shipped = export(tuned, tmp_path / "out", target="onnxruntime-cpu-int8", task=task, memory=True)
    assert [stage.name for stage in shipped.stages] == ["export", "lower", "int8", "segment"]
    assert json.loads((shipped.path / "bert_compress.json").read_text())["segment"]["drift"]["64"] < 0.5


@pytest.mark.matrix
def test_a_float_file_has_no_drift_to_tell_of(tmp_path: Path) -> None:
    shipped = export(student_of("transformer_xl"), tmp_path / "out", target="onnxruntime-cpu", task=toy_task(), memory=True)
    facts = read_facts(shipped.path)
    assert facts.segment is not None
    assert not facts.segment.drift


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["transformer_xl", "chunk_and_pool"])
def test_the_model_in_a_file_s_place_reads_as_the_float_file_does(kind: str, tmp_path: Path) -> None:
    student = student_of(kind)
    shipped = export(student, tmp_path / "out", target="onnxruntime-cpu", task=toy_task(), memory=True)
    files = in_torch(student), open_segment_file(shipped.path / "segment.onnx")
    states = [file.start(2) for file in files]
    random = np.random.default_rng(0)
    for _ in range(20):
        ids = np.concatenate([np.full((2, 1), 2), random.integers(5, 17, (2, SEGMENT - 1))], 1)
        batch, answers = {"input_ids": ids, "attention_mask": np.ones_like(ids)}, []
        for index, file in enumerate(files):
            logits, states[index] = file.read(batch, states[index])
            answers.append(logits)
        np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


@pytest.mark.parametrize("target", ["onnxruntime-cpu-int8", "openvino-cpu-int8"])
def test_a_model_without_segments_has_no_memory_to_hand_on(target: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="memory is true, but the model does not read segments"):
        export(tiny_bert(), tmp_path / "out", target=target, task=toy_task(), memory=True)
    assert not (tmp_path / "out").exists()
