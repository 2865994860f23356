"""A model of fewer positions than the task's texts have tokens reads their beginnings in every step, and that is told once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from compress.benchmark.measurement import evaluate
from compress.methods.build_student import build_student
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.methods.fine_tune import fine_tune
from compress.methods.prune_ffn import prune_ffn
from compress.methods.prune_heads import prune_heads
from compress.methods.prune_weights import prune_weights
from compress.methods.prune_width import prune_width
from compress.methods.quantize_aware import quantize_aware
from compress.models.checkpoint import save
from compress.quantization.calibration import calibration_batches
from compress.targets.exporting import export
from compress.targets.onnx.sensitivity import keep_in_float
from compress.tasks.labelled import Task
from tests.tiny_models import tiny_bert, toy_task

SHORT = 6
TOLD = (
    "the model reads 6 tokens at most: of the task's texts, of up to 24, it gets the first 6; give the task a max_length of "
    "6, or let swap_attention extend the model"
)
Step = Callable[[PreTrainedModel, Task], Any]
STEPS: dict[str, Step] = {
    "fine_tune": lambda model, task: fine_tune(model, task=task, epochs=1, batch_size=16),
    "distill": lambda model, task: distill(
        model, task=task, teacher=tiny_bert(seed=5), epochs=1, batch_size=16, objectives={"logits": 1.0, "hidden": 1.0}
    ),
    "from a teacher that reads less": lambda model, task: distill(
        tiny_bert(seed=5), task=task, teacher=model, epochs=1, objectives={"logits": 1.0}, batch_size=16
    ),
    "prune_heads": lambda model, task: prune_heads(model, task=task, fraction=0.5),
    "prune_ffn": lambda model, task: prune_ffn(model, task=task, fraction=0.5),
    "prune_width": lambda model, task: prune_width(model, task=task, width=8, multiple_of=4),
    "prune_weights": lambda model, task: prune_weights(model, task=task, fraction=0.5, epochs=1, batch_size=16),
    "drop_layers": lambda model, task: drop_layers(model, task=task, layers=1, by="contribution"),
    "build_student": lambda model, task: build_student(
        model, task=task, kind="bert", layers=1, width=8, heads=2, intermediate=12
    ),
    "quantize_aware": lambda model, task: quantize_aware(model, task=task, epochs=1, batch_size=16),
    "calibration": lambda model, task: calibration_batches(task, model),
}


@pytest.fixture
def short() -> PreTrainedModel:
    """A model of six positions."""
    return tiny_bert(max_position_embeddings=SHORT)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told to be done something about."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name.startswith("compress.tasks")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_every_step_reads_what_the_model_reads(name: str, short: PreTrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    task = toy_task()
    STEPS[name](short, task)
    STEPS[name](short, task)
    assert warnings_of(caplog) == [TOLD]


@pytest.mark.slow
def test_an_export_and_its_measurement_tell_the_length_that_was_read(
    short: PreTrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = toy_task()
    shipped = export(short, tmp_path / "out", target="onnxruntime-cpu", task=task)
    keep_in_float(short, task, 1.0, tmp_path)
    for folder in (shipped.path, save(short, tmp_path / "model")):
        scores = evaluate(folder, task=task)
        assert scores["max_length"] == SHORT
        assert scores["truncated"] == sum(len(text.split()) + 2 > SHORT for text in task.evaluation.texts) > 0
    assert warnings_of(caplog) == [TOLD]


def test_a_task_is_told_of_once_for_each_length_and_its_copies_know(
    short: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    task = toy_task()
    for variant in (task, replace(task), task.up_to(20), task):
        assert variant.read_by(short).max_length == SHORT
    assert task.read_by(tiny_bert()) is task
    assert [message.partition(", it gets")[0][-8:] for message in warnings_of(caplog)] == ["up to 24", "up to 20"]


def test_reading_less_is_the_same_task_as_one_of_that_length(short: PreTrainedModel) -> None:
    task = toy_task()
    assert task.read_by(short).fingerprint == task.up_to(SHORT).fingerprint != task.fingerprint
