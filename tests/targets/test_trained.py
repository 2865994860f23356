"""A model that was trained on eight-bit numbers answers from its int8 files as it does in torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.models.quantizers import set_qmax
from compress.models.surgery import copy_of
from compress.targets.onnx.graph import FILE, in_onnxruntime
from compress.targets.onnx.integers import QMAX
from compress.targets.openvino_cpu import in_openvino
from tests.targets.quantized import wide_bert
from tests.tiny_models import toy_task

TASK = toy_task(train=80, others=40)
TOLERANCE = 0.01  # of the logits' root mean square: a value between two steps may fall to either side
WAYS: dict[str, dict[str, Any]] = {
    "followed": {},
    "asymmetric": {"symmetric": False, "per_channel": False},
    "learned": {"lsq": True},
}


@pytest.fixture(scope="module", params=WAYS)
def trained(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Sixty steps, which teach it the task."""
    options = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2, **WAYS[request.param]}
    return cp.quantize_aware(wide_bert(initializer_range=0.05), task=TASK, **options)


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "options", "opened"),
    [
        ("onnxruntime-cpu-int8", {"activations": "static"}, in_onnxruntime),
        ("openvino-cpu-int8", {"precision": "float32"}, lambda path: in_openvino(path, "float32")),
    ],
)
def test_its_int8_file_answers_as_it_does(
    trained: PreTrainedModel, tmp_path: Path, target: str, options: dict[str, Any], opened: Any
) -> None:
    """On sentences that it has not seen; with as many bits as this processor multiplies without overflow."""
    shipped = cp.export(trained, tmp_path / "out", target=target, task=TASK, max_flips=0.0, **options)
    assert [(stage.name, stage.label_flips) for stage in shipped.stages] == [("export", 0), ("lower", 0), ("int8", 0)]
    bits = json.loads((shipped.path / "bert_compress.json").read_text())["integers"]["weight_bits"]
    student = copy_of(trained)
    set_qmax(student, weights=QMAX[int(bits)], tables=QMAX[8])
    file = opened(shipped.path / FILE)
    encoded = TASK.encode(TASK.evaluation, student.tokenizer)
    batches = [encoded.batch([index]) for index in range(len(encoded))] + [encoded.batch(range(len(encoded)))]
    with torch.no_grad():
        expected = np.concatenate(
            [student(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy() for batch in batches]
        )
    logits = np.concatenate([file.run(batch) for batch in batches])
    assert np.sqrt(((logits - expected) ** 2).mean() / (expected**2).mean()) < TOLERANCE
    assert (logits.argmax(1) == expected.argmax(1)).all()
    assert (expected.argmax(1) == np.tile(TASK.evaluation.labels, 2)).mean() > 0.9
    assert file.integer_ops == 2 * 6 + 1  # six products a layer, and the pooler's
