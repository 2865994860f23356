"""What a bundle's own files say of a few texts, in onnxruntime, with which a reader's answers are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from compress.models.checkpoint.tokenizer import open_tokenizer
from compress.tasks import TASKS
from compress.tasks.kind import load_kind

TEXTS, SECOND = ["a good film", "bad"], ["the plot was dull", "it was fine and good"]
READ = [kind for kind in TASKS if not load_kind(kind).head.writes]
"""Kinds of tasks that bundles are made for."""
PAIRED = ("question-answering", "reranking")
FP32, QUANTIZED = "onnx/model.onnx", "onnx/model_quantized.onnx"


def seconds_of(kind: str) -> list[str] | None:
    """The second texts where a kind of task reads two as one."""
    return SECOND if kind in PAIRED else None


def own_answers(folder: Path, file: str, kind: str) -> dict[str, np.ndarray]:
    """The outputs of a graph by their names."""
    texts = [TEXTS, SECOND] if kind in PAIRED else [TEXTS]
    batch = open_tokenizer(folder)(*texts, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(folder / file, providers=["CPUExecutionProvider"])
    given = {item.name: batch[item.name].astype(np.int64) for item in session.get_inputs()}
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, given), strict=True))


def check_same(answers: dict[str, Any], expected: dict[str, np.ndarray], tolerance: float) -> None:
    """Compare what a reader gives with what is expected, but for what it leaves out and for what padded tokens say."""
    shared = answers.keys() & expected.keys()
    assert shared, (answers.keys(), expected.keys())
    for name in shared:
        given = np.array(answers[name], dtype=np.float32)
        assert given.shape == expected[name].shape
        scale = max(1.0, float(np.abs(expected[name]).max()))
        assert np.abs(given - expected[name]).max() <= tolerance * scale, name
