"""A bundle is read in Python by those who find models by these names, each in an environment of its own where it needs one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer

from compress.tasks.kind import load_kind
from tests.bundles.answers import FP32, QUANTIZED, READ, SECOND, TEXTS, check_same, own_answers, seconds_of
from tests.bundles.conftest import BundleOf
from tests.environments import python_with

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
EXACT, INTEGERS = 1e-4, 2e-2
OPTIMUM = """
import json, sys
import optimum.onnxruntime
from transformers import AutoTokenizer
folder, name, file, *texts = sys.argv[1:]
model = getattr(optimum.onnxruntime, name).from_pretrained(folder, subfolder="onnx", file_name=file)
texts = [texts[:2], texts[2:]] if len(texts) > 2 else [texts]
answers = model(**AutoTokenizer.from_pretrained(folder)(*texts, padding=True, return_tensors="pt"))
print(json.dumps({key: value.tolist() for key, value in answers.items()}))
"""
EMBEDDER = """
import json, sys
from sentence_transformers import SentenceTransformer
folder, backend, file, *texts = sys.argv[1:]
how = {"model_kwargs": {"file_name": file}} if file else {}
print(json.dumps({"sentence_embedding": SentenceTransformer(folder, backend=backend, **how).encode(texts).tolist()}))
"""
RERANKER = """
import json, sys
import torch
from sentence_transformers import CrossEncoder
folder, backend, file, *texts = sys.argv[1:]
how = {"model_kwargs": {"file_name": file}} if file else {}
model = CrossEncoder(folder, backend=backend, **how)
scores = model.predict(list(zip(texts[:2], texts[2:])), activation_fn=torch.nn.Identity())
print(json.dumps({"logits": [[float(score)] for score in scores]}))
"""
FASTEMBED = """
import json, sys
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
folder, width, *texts = sys.argv[1:]
TextEmbedding.add_custom_model("org/small", pooling=PoolingType.DISABLED, normalization=False, dim=int(width),
    output_name="sentence_embedding", sources=ModelSource(hf="org/small"), model_file="onnx/model.onnx")
model = TextEmbedding("org/small", specific_model_path=folder)
print(json.dumps({"sentence_embedding": [vector.tolist() for vector in model.embed(texts)]}))
"""
FASTRANK = """
import json, sys
from fastembed.common.model_description import ModelSource
from fastembed.rerank.cross_encoder import TextCrossEncoder
folder, *texts = sys.argv[1:]
TextCrossEncoder.add_custom_model("org/small", sources=ModelSource(hf="org/small"), model_file="onnx/model.onnx")
model = TextCrossEncoder("org/small", specific_model_path=folder)
print(json.dumps({"logits": [[score] for score in model.rerank_pairs(list(zip(texts[:2], texts[2:])))]}))
"""
INFINITY = """
import asyncio, json, sys
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
folder, what, *texts = sys.argv[1:]
engine = AsyncEmbeddingEngine.from_args(EngineArgs(model_name_or_path=folder, engine="torch", device="cpu", dtype="float32",
    model_warmup=False, bettertransformer=False))
async def main():
    async with engine:
        if what == "embed":
            vectors, _ = await engine.embed(sentences=texts)
            return {"sentence_embedding": [vector.tolist() for vector in vectors]}
        answers, _ = await engine.classify(sentences=texts)
        return [{entry["label"]: entry["score"] for entry in answer} for answer in answers]
print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture(scope="module")
def optimum_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with optimum-onnx, the transformers that it pins, and sentence-transformers that goes with them."""
    folder = tmp_path_factory.mktemp("optimum") / "environment"
    return python_with(folder, "sentence-transformers<6", "datasets<5", "optimum-onnx==0.1.*")


@pytest.fixture(scope="module")
def fastembed_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with fastembed."""
    return python_with(tmp_path_factory.mktemp("fastembed") / "environment", "fastembed==0.9.*")


@pytest.fixture(scope="module")
def infinity_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with infinity, and what of ours has to be older for its numpy."""
    older = ("sentence-transformers<6", "pandas<3", "pyarrow<20", "datasets<4", "scipy<1.16", "scikit-learn<1.7")
    return python_with(tmp_path_factory.mktemp("infinity") / "environment", *older, "infinity-emb[optimum]==0.0.78")


def _said(python: Path, script: str, folder: Path, *arguments: str) -> Any:
    """What a script says of a folder in another Python, in JSON on its last line."""
    ended = subprocess.run(
        [str(python), "-c", script, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.strip().splitlines()[-1])


def _texts(kind: str) -> list[str]:
    return [*TEXTS, *(seconds_of(kind) or [])]


@pytest.mark.parametrize("kind", READ)
def test_optimum_reads_both_graphs(optimum_python: Path, bundle_of: BundleOf, kind: str) -> None:
    folder, head = bundle_of(kind), load_kind(kind).head
    name = f"ORTModelFor{head.opened_as or head.architecture}"
    for file, tolerance in ((FP32, EXACT), (QUANTIZED, INTEGERS)):
        answers = _said(optimum_python, OPTIMUM, folder, name, Path(file).name, *_texts(kind))
        check_same(answers, own_answers(folder, file, kind), tolerance)


@pytest.mark.parametrize(
    ("backend", "file", "tolerance"), [("torch", "", EXACT), ("onnx", "", EXACT), ("onnx", QUANTIZED, 0.1)]
)
@pytest.mark.parametrize(("kind", "script"), [("sentence-embedding", EMBEDDER), ("reranking", RERANKER)])
def test_sentence_transformers_reads_weights_and_graphs(
    optimum_python: Path, bundle_of: BundleOf, kind: str, script: str, backend: str, file: str, tolerance: float
) -> None:
    folder = bundle_of(kind)
    answers = _said(optimum_python, script, folder, backend, file, *_texts(kind))
    check_same(answers, own_answers(folder, file or FP32, kind), tolerance)


def test_fastembed_embeds(fastembed_python: Path, bundle_of: BundleOf) -> None:
    folder = bundle_of("sentence-embedding")
    expected = own_answers(folder, FP32, "sentence-embedding")
    width = expected["sentence_embedding"].shape[1]
    check_same(_said(fastembed_python, FASTEMBED, folder, str(width), *TEXTS), expected, EXACT)


def test_fastembed_ranks(fastembed_python: Path, bundle_of: BundleOf) -> None:
    folder = bundle_of("reranking")
    answers = _said(fastembed_python, FASTRANK, folder, *TEXTS, *SECOND)
    check_same(answers, own_answers(folder, FP32, "reranking"), EXACT)


def test_infinity_embeds(infinity_python: Path, bundle_of: BundleOf) -> None:
    folder = bundle_of("sentence-embedding")
    answers = _said(infinity_python, INFINITY, folder, "embed", *TEXTS)
    check_same(answers, own_answers(folder, FP32, "sentence-embedding"), EXACT)


def test_infinity_classifies(infinity_python: Path, bundle_of: BundleOf) -> None:
    folder = bundle_of("text-classification")
    answers = _said(infinity_python, INFINITY, folder, "classify", *TEXTS)
    logits = own_answers(folder, FP32, "text-classification")["logits"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    for answer, row in zip(answers, probabilities, strict=True):
        assert answer == {names[str(index)]: pytest.approx(share, abs=EXACT) for index, share in enumerate(row)}


@pytest.mark.parametrize("kind", READ)
def test_transformers_reads_the_weights(bundle_of: BundleOf, kind: str) -> None:
    folder = bundle_of(kind)
    architecture = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder).eval()
    texts = [TEXTS, SECOND] if seconds_of(kind) else [TEXTS]
    with torch.no_grad():
        answers = model(**AutoTokenizer.from_pretrained(folder)(*texts, padding=True, return_tensors="pt"))
    check_same({name: value.numpy() for name, value in answers.items()}, own_answers(folder, FP32, kind), EXACT)


@pytest.mark.parametrize("kind", READ)
def test_transformers_opens_it_as_an_export(bundle_of: BundleOf, kind: str) -> None:
    exporters = pytest.importorskip("transformers.exporters.base", reason="this version of transformers reads no export.json")
    folder = bundle_of(kind)
    texts = [TEXTS, SECOND] if seconds_of(kind) else [TEXTS]
    opened = exporters.ExportedModel.from_pretrained(folder)
    answers = opened(**AutoTokenizer.from_pretrained(folder)(*texts, padding=True, return_tensors="pt"))
    expected = own_answers(folder, FP32, kind)
    if "sentence_embedding" in expected:  # by the name that transformers has for it
        expected["pooler_output"] = expected.pop("sentence_embedding")
    check_same({name: value.numpy() for name, value in answers.items()}, expected, EXACT)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("kind", READ)
def test_openvino_reads_its_own_format(bundle_of: BundleOf, kind: str) -> None:
    import openvino

    folder = bundle_of(kind)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(folder / "openvino" / "openvino_model.xml", "CPU", settings)
    texts = [TEXTS, SECOND] if seconds_of(kind) else [TEXTS]
    batch = AutoTokenizer.from_pretrained(folder)(*texts, padding=True, return_tensors="np")
    given = model({item.any_name: batch[item.any_name].astype(np.int64) for item in model.inputs})
    check_same({item.any_name: given[item] for item in model.outputs}, own_answers(folder, FP32, kind), EXACT)
