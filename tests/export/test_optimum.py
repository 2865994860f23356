"""A shipped folder loads in optimum-onnx, which needs an older transformers and so an environment of its own."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

import compress as cp
from tests.models import tiny_bert, toy_task

SENTENCES = ["a good film", "bad"]
SCRIPT = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer
folder, *sentences = sys.argv[1:]
model = ORTModelForSequenceClassification.from_pretrained(folder)
batch = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
print(json.dumps({"logits": model(**batch).logits.tolist(), "labels": model.config.id2label}))
"""


@pytest.fixture(scope="module")
def optimum_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with optimum-onnx and the transformers that it pins in front of everything that is installed here."""
    folder = tmp_path_factory.mktemp("optimum") / "environment"
    venv.create(folder, with_pip=True)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    (packages / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "optimum-onnx==0.1.*"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    except subprocess.TimeoutExpired:
        ended = subprocess.CompletedProcess(command, 1, "", "pip took more than 400 seconds")
    if ended.returncode:
        if os.environ.get("BERT_COMPRESS_NEED_OPTIMUM") == "1":
            pytest.fail(f"optimum-onnx could not be installed: {ended.stderr[-500:]}")
        pytest.skip("optimum-onnx could not be installed")
    return python


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.parametrize("target", ["onnxruntime-cpu", "onnxruntime-cpu-int8"])
def test_a_shipped_folder_answers_the_same_in_optimum(optimum_python: Path, tmp_path: Path, target: str) -> None:
    model = tiny_bert()
    shipped = cp.export(model, tmp_path / "out", target=target, task=toy_task())
    ended = subprocess.run([str(optimum_python), "-c", SCRIPT, str(shipped.path), *SENTENCES], capture_output=True, text=True,
                           check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout.strip().splitlines()[-1])
    assert told["labels"] == {"0": "bad", "1": "good"}
    with torch.no_grad():
        batch = model.tokenizer(SENTENCES, padding=True, return_tensors="pt")
        expected = model(**batch).logits.numpy()
    tolerance = 1e-4 if target == "onnxruntime-cpu" else 0.25 * float(np.abs(expected).max())
    assert np.abs(np.array(told["logits"]) - expected).max() < tolerance
