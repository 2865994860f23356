"""On a GPU: long attention answers as it does on a CPU, models learn, and torch is measured there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.methods.swap_attention import swap_attention
from compress.training.step_context import StepContext
from tests.methods.test_swap_attention import KINDS
from tests.tiny_models import logits_of, tiny_bert, tokens, toy_task

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.mark.parametrize("kind", KINDS)
def test_long_attention_answers_as_on_a_cpu(kind: Any) -> None:
    student = swap_attention(tiny_bert(), task=toy_task(), kind=kind, max_length=60, **KINDS[kind])
    batch = tokens(lengths=(60, 37, 5))
    expected = logits_of(student, **batch)
    there = {name: tensor.to("cuda") for name, tensor in batch.items()}
    with torch.inference_mode():
        logits = student.to("cuda")(**there).logits
        halved = student.to(torch.bfloat16)(**there).logits
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(halved).all()


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_model_learns(kind: Any) -> None:
    task = toy_task(train=80)
    model = tiny_bert(initializer_range=0.05)
    if kind:
        model = swap_attention(model, task=task, kind=kind, **KINDS[kind])
    run = StepContext(device="cuda")
    cp.fine_tune(model, task=task, epochs=12, learning_rate=1e-2, batch_size=16, run=run)
    assert run.facts["metrics"]["selection_accuracy"] > 0.9


def test_torch_is_measured_there(tmp_path: Path) -> None:
    folder = cp.save(tiny_bert(), tmp_path / "model")
    measurement = cp.measure([folder], task=toy_task(), length=[8], device="cuda", rounds=1, seconds=0.1)
    (row,) = measurement.subjects[0]["latency"]
    assert (row["device"], row["speedup"]) == ("cuda", 1.0)
    assert row["p50_ms"] > 0
