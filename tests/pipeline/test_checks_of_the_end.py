"""What the end of a run would refuse is told before its first step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.models.checkpoint.saving import write_model
from compress.pipeline import RunOptions
from compress.pipeline.cache import Cache
from compress.pipeline.checks import check_runtimes, rehearse
from compress.pipeline.steps import Execution, StepOutput
from compress.recipe.plan import INPUT_MODEL, Benchmark, Export, Plan, Step
from compress.tasks.labelled import Task
from tests.tiny_models import tiny_bert

TRAINED = Step("fine_tune", {"epochs": 1.0}, "teacher")
DISTILLED = Step("distill", {"teacher": "teacher", "objectives": {"logits": 1.0}}, "distill")


def made(
    folder: Path, task: Task, *steps: Step, exports: tuple[Export, ...] = (), **changes: Any
) -> tuple[Execution, StepOutput]:
    """A walk before its first step, with a model of 24 positions."""
    (folder / "model").mkdir()
    write_model(tiny_bert(), folder / "model")
    plan = Plan("x", 1, "m", {}, (TRAINED, *steps), exports, Benchmark(**{"length": (8,), **changes}))
    return Execution(plan, task, Cache(folder / "cache"), RunOptions(device="cpu")), StepOutput(
        INPUT_MODEL, "key", folder / "model"
    )


@pytest.mark.parametrize(
    ("steps", "exports", "said"),
    [
        (
            [Step("build_student", {"kind": "static", "embedding": 8}, "static"), DISTILLED],
            [Export("openvino-cpu-int8", {})],
            "openvino-cpu-int8: a static has no encoder",
        ),
        (
            [Step("build_student", {"kind": "bilstm", "embedding": 8}, "small"), DISTILLED],
            [Export("onnxruntime-cpu", {}), Export("onnxruntime-cpu-int8", {"activations": "static"})],
            "onnxruntime-cpu-int8: a bilstm has no encoder",
        ),
        (
            [Step("factorize_embedding", {"rank": 5}, "thin"), DISTILLED],
            [Export("onnxruntime-cpu-int8", {"embedding_bits": 4})],
            "embedding_bits is 4, but the table .* has 5 columns",
        ),
        (
            [Step("prune_width", {"width": 7, "multiple_of": 7}, "narrow"), DISTILLED],
            [Export("openvino-cpu-int8", {"embedding_bits": 4})],
            "embedding_bits is 4, but the table .* has 7 columns",
        ),
        ([Step("quantize_aware", {"symmetric": False}, "whole")], [Export("tensorrt-int8", {})], "needs symmetric ranges"),
    ],
)
def test_an_export_that_cannot_write_the_last_model_is_told_before_the_first_step(
    tmp_path: Path, toy: Task, steps: list[Step], exports: list[Export], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rehearse(*made(tmp_path, toy, *steps, exports=tuple(exports)))


def test_exports_that_fit_the_last_model_pass(tmp_path: Path, toy: Task) -> None:
    steps = Step("build_student", {"kind": "static", "embedding": 8}, "static"), DISTILLED
    exports = Export("onnxruntime-cpu", {}), Export("onnxruntime-cpu-int8", {"embedding_bits": 4, "activations": "dynamic"})
    rehearse(*made(tmp_path, toy, *steps, exports=exports))


@pytest.mark.parametrize(
    ("steps", "length", "said"),
    [
        ([], (8, 25), "benchmark.length is 25, but 'teacher' reads at most 24 tokens"),
        (
            [Step("trim_vocabulary", {"max_length": 12}, "short")],
            (24,),
            "benchmark.length is 24, but 'short' reads at most 12",
        ),
        ([Step("swap_attention", {"kind": "longformer", "window": 8, "max_length": 40}, "long")], (40,), "'teacher' reads at"),
    ],
)
def test_a_length_that_a_measured_model_does_not_read_is_told_before_the_first_step(
    tmp_path: Path, toy: Task, steps: list[Step], length: tuple[int, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rehearse(*made(tmp_path, dataclasses.replace(toy, max_length=8), *steps, length=length))


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", "device is 'cuda', but"),
        ("cuda:7", "device is 'cuda:7', but"),
        ("mps", "device is 'mps'; allowed: cpu"),
    ],
)
@pytest.mark.parametrize("exports", [(), (Export("onnxruntime-cpu", {}),)])
def test_a_device_to_measure_on_that_is_not_there_is_told_before_the_first_step(
    tmp_path: Path, toy: Task, monkeypatch: pytest.MonkeyPatch, device: str, said: str, exports: tuple[Export, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=said):
        check_runtimes(made(tmp_path, toy, exports=exports, device=device)[0])


def test_a_tracker_that_is_not_installed_is_told_before_the_first_step(tmp_path: Path, toy: Task) -> None:
    execution, _ = made(tmp_path, toy)
    execution.options = RunOptions(device="cpu", log_with=("nothing-of-that-name",))
    with pytest.raises(InputError, match="the tracker 'nothing-of-that-name' is not known or not installed; allowed"):
        check_runtimes(execution)
