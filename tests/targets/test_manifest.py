"""transformers opens an exported folder as one of its own, and gets the file's answers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer
from transformers.modeling_outputs import SequenceClassifierOutput

from compress.facts import FACTS, MANIFEST, read_facts
from compress.targets import TARGETS
from compress.targets.exporting import export
from compress.targets.manifest import SCHEMA
from tests.targets.graphs import deployed_answers
from tests.targets.onnx.test_versions import LOOSE, model_of
from tests.tiny_models import logits_of, toy_task

with warnings.catch_warnings():  # older versions of transformers compile at import as torch no longer likes
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        from transformers.exporters.base import EXPORT_SCHEMA_VERSION, ExportedModel
    except ImportError:
        pytest.skip("this version of transformers reads no export.json", allow_module_level=True)

SENTENCES = ["a good film", "bad"]


def shipped(kind: str, target: str, folder: Path) -> tuple[Any, Path]:
    model = model_of(kind)
    limits = {} if target in ("onnxruntime-cpu", "openvino-cpu") else LOOSE
    return model, export(model, folder, target=target, task=toy_task(), **limits).path


PLAIN = ("onnxruntime-cpu", "onnxruntime-cpu-int8")
OTHERS = (("distilbert", "onnxruntime-cpu-int8"), ("albert", "onnxruntime-cpu"), ("mobilebert", "onnxruntime-cpu"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("bert", "onnxruntime-cpu"),
        ("bert", "onnxruntime-cpu-int8"),
        *(pytest.param("bert", target, marks=pytest.mark.matrix) for target in TARGETS if target not in PLAIN),
        *(pytest.param(kind, target, marks=pytest.mark.matrix) for kind, target in OTHERS),
    ],
)
def test_it_answers_in_transformers_as_the_file_does(kind: str, target: str, tmp_path: Path) -> None:
    model, folder = shipped(kind, target, tmp_path / "out")
    opened = ExportedModel.from_pretrained(folder)
    batch = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    answer = opened(**batch)
    assert isinstance(answer, SequenceClassifierOutput)
    expected = deployed_answers(folder / "model.onnx", {name: values.numpy() for name, values in batch.items()})
    np.testing.assert_array_equal(answer.logits.numpy(), expected)
    assert answer.logits.dtype == opened.dtype == (torch.float16 if "fp16" in target else torch.float32)
    assert opened.config.id2label == model.config.id2label
    assert (answer.logits.argmax(1) == logits_of(model, **batch).argmax(1)).all()
    single = AutoTokenizer.from_pretrained(folder)(SENTENCES[1], return_tensors="pt")
    assert opened(**single).logits.shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bilstm", "static"])
def test_a_model_that_transformers_does_not_know_has_no_manifest(kind: str, tmp_path: Path) -> None:
    """It could not read its configuration."""
    _, folder = shipped(kind, "onnxruntime-cpu", tmp_path / "out")
    assert not (folder / MANIFEST).exists()
    assert not (folder / "model.onnx.data").exists()
    assert read_facts(folder).target == "onnxruntime-cpu"


@pytest.mark.slow
def test_the_two_files_do_not_get_mixed_up(tmp_path: Path) -> None:
    _, folder = shipped("bert", "onnxruntime-cpu", tmp_path / "out")
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["schema_version"] == SCHEMA == EXPORT_SCHEMA_VERSION
    assert manifest["export_format"] == "onnx"
    assert (folder / "model.onnx.data").stat().st_size == 0
    (folder / FACTS).rename(tmp_path / FACTS)
    assert read_facts(folder).path is None
