"""A shipped folder loads in optimum-onnx and in transformers 4, which that needs, and so in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import compress as cp
from compress.models.heads import logits_of
from compress.runtimes.runtime import as_logits
from compress.tasks import SYNONYMS, TASKS
from compress.tasks.kind import load_kind
from tests.environments import python_with
from tests.tasks.kinds import ROWS
from tests.tiny_models import LONGEST, PIECES, tiny_bert, tiny_for, tiny_of, toy_task

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
SENTENCES = ["a good film", "bad"]
READ = [kind for kind in TASKS if not load_kind(kind).head.writes]
"""Kinds whose folders optimum reads: it wants other files of what writes, with branches for an empty cache."""
SCRIPT = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer
folder, *sentences = sys.argv[1:]
model = ORTModelForSequenceClassification.from_pretrained(folder)
batch = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
answers = model(**batch)
print(json.dumps({"outputs": [answers[name].tolist() for name in NAMES], "labels": model.config.id2label}))
"""
EMBEDDER = """
import json, sys
from sentence_transformers import SentenceTransformer
folder, *sentences = sys.argv[1:]
print(json.dumps(SentenceTransformer(folder, backend="onnx").encode(sentences).tolist()))
"""
TOKENS = """
import json, sys
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
folder, *sentences = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
report = {"version": transformers.__version__, "ids": tokenizer(sentences)["input_ids"],
          "longest": tokenizer.model_max_length, "special": tokenizer.all_special_tokens,
          "logits": model(**tokenizer(sentences, padding=True, return_tensors="pt")).logits.tolist(),
          "sizes": [model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads]}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def optimum_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with optimum-onnx, the transformers that it pins, and sentence-transformers that goes with them."""
    folder = tmp_path_factory.mktemp("optimum") / "environment"
    return python_with(folder, "sentence-transformers<6", "datasets<5", "optimum-onnx==0.1.*")


@pytest.fixture(scope="module")
def intel_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with optimum-intel and what it pins of ours; without nncf and torchvision, which it asks for and does not need
    to open a file."""
    pins = ("transformers<5.6", "tokenizers<=0.23", "huggingface-hub<1.22", "datasets<5", "optimum~=2.3.0")
    folder = tmp_path_factory.mktemp("intel") / "environment"
    return python_with(folder, "--no-deps", "httpx", "httpcore", "h11", "anyio", "requests", *pins, "optimum-intel==2.2.*")


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.parametrize("target", ["onnxruntime-cpu", "onnxruntime-cpu-int8"])
def test_a_shipped_folder_answers_the_same_in_optimum(optimum_python: Path, tmp_path: Path, target: str) -> None:
    model = tiny_bert()
    shipped = cp.export(model, tmp_path / "out", target=target, task=toy_task())
    answer = _said(optimum_python, SCRIPT.replace("NAMES", "['logits']"), shipped.path)
    assert answer["labels"] == {"0": "bad", "1": "good"}
    with torch.no_grad():
        batch = model.tokenizer(SENTENCES, padding=True, return_tensors="pt")
        expected = model(**batch).logits.numpy()
    tolerance = 1e-4 if target == "onnxruntime-cpu" else 0.25 * float(np.abs(expected).max())
    assert np.abs(np.array(answer["outputs"][0]) - expected).max() < tolerance


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.parametrize("kind", READ)
def test_a_folder_of_every_kind_of_task_opens_in_its_class_of_optimum(optimum_python: Path, tmp_path: Path, kind: str) -> None:
    _check_answers(optimum_python, tmp_path, kind, SCRIPT.replace("ORTModelForSequenceClassification", "ORTModelForHEAD"))


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.parametrize("kind", READ)
def test_a_folder_of_every_kind_of_task_opens_in_its_class_of_openvino(intel_python: Path, tmp_path: Path, kind: str) -> None:
    script = SCRIPT.replace("optimum.onnxruntime", "optimum.intel").replace(
        "ORTModelForSequenceClassification", "OVModelForHEAD"
    )
    options = 'folder, file_name="model.onnx", ov_config={"INFERENCE_PRECISION_HINT": "f32"}'
    exact = script.replace("from_pretrained(folder)", f"from_pretrained({options})", 1)
    _check_answers(intel_python, tmp_path, kind, exact)


def _check_answers(python: Path, tmp_path: Path, kind: str, script: str) -> None:
    """What a class of optimum answers with a shipped folder is what the model answers, by the task's names."""
    read = _rows(kind, tmp_path)
    model = tiny_for(read)
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=read)
    head = read.rules.head
    outputs = list(head.beside or head.outputs)
    script = script.replace("ForHEAD", f"For{head.opened_as or head.architecture}").replace("NAMES", str(outputs))
    answer = _said(python, script, shipped.path)
    assert list(answer["labels"].values()) == list(read.labels) or not head.is_named
    with torch.no_grad():
        answered = model(**model.tokenizer(SENTENCES, padding=True, return_tensors="pt"))
    expected = answered[head.beside[0]] if head.beside else logits_of(answered)
    assert np.abs(as_logits([np.array(output) for output in answer["outputs"]]) - expected.numpy()).max() < 1e-4


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
def test_an_embedder_answers_the_same_in_sentence_transformers(optimum_python: Path, tmp_path: Path) -> None:
    """Its pooling is told by the folder."""
    read = _rows("sentence-embedding", tmp_path)
    model = tiny_for(read)
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=read)
    answer = _said(optimum_python, EMBEDDER, shipped.path)
    with torch.no_grad():
        expected = logits_of(model(**model.tokenizer(SENTENCES, padding=True, return_tensors="pt"))).numpy()
    assert np.abs(np.array(answer) - expected).max() < 1e-4


def _rows(kind: str, folder: Path) -> Any:
    return cp.task({"train": str(ROWS[kind](folder, 120))}, kind=kind, max_length=LONGEST, allow_unknown=True)


def _said(python: Path, script: str, folder: Path, sentences: Sequence[str] = SENTENCES) -> Any:
    """What a script says of a folder and sentences in another Python, in JSON on its last line."""
    ended = subprocess.run(
        [str(python), "-c", script, str(folder), *sentences],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.strip().splitlines()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.parametrize("kind", ["bert", "distilbert", "fast"])
def test_a_saved_folder_loads_in_transformers_4(optimum_python: Path, tmp_path: Path, kind: str) -> None:
    """With tokens that were added, and with a tokenizer whose class has no other name than that of transformers 5."""
    sizes: dict[str, Any] = {"vocab_size": len(PIECES) + 1}
    model = tiny_of("distilbert", **sizes) if kind == "distilbert" else tiny_bert(**sizes)
    if kind == "fast":
        backend = model.tokenizer.backend_tokenizer
        named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    model.tokenizer.add_special_tokens({"extra_special_tokens": ["[E1]"]})
    folder = cp.save(model, tmp_path / "model")
    sentences = ["a good film [E1]", "bad"]
    answer = _said(optimum_python, TOKENS, folder, sentences)
    assert answer["version"].startswith("4.")
    assert answer["ids"] == model.tokenizer(sentences)["input_ids"]
    assert answer["longest"] == LONGEST
    assert set(answer["special"]) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[E1]"}
    assert answer["sizes"] == [16, 2, 4]
    with torch.no_grad():
        batch = model.tokenizer(sentences, padding=True, return_tensors="pt")
        expected = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
    assert np.abs(np.array(answer["logits"]) - expected).max() < 1e-4


@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
def test_kinds_and_their_heads_are_those_that_optimum_knows_by_these_names(intel_python: Path) -> None:
    script = (
        "from optimum.exporters.tasks import TasksManager as T; import json, sys; "
        "print(json.dumps([[T.map_from_synonym(name), T.get_model_class_for_task(kind).__name__] "
        "for name, kind in json.loads(sys.argv[1])]))"
    )
    asked = [["sequence-classification", "text-classification"], ["token-classification", "token-classification"]]
    ended = subprocess.run([str(intel_python), "-c", script, json.dumps(asked)], capture_output=True, text=True, check=True)
    kinds = json.loads(ended.stdout.strip().splitlines()[-1])
    assert [name for name, _ in kinds] == [SYNONYMS.get(name, name) for name, _ in asked]
    heads = [f"AutoModelFor{load_kind(kind).head.architecture}" for _, kind in asked]
    assert [head for _, head in kinds] == heads
