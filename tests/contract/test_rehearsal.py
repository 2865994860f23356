"""What every method must keep when a run rehearses it, over the whole table: it checks all, and computes the shape alone."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.methods import METHODS
from compress.models.structure import read_structure
from compress.training.step_context import Guess, StepContext
from tests.contract.test_methods import EXAMPLES, HERE
from tests.pruning.times import stand_in_for_timing
from tests.tiny_models import differences, state_of, tiny_bert, toy_task

MORE: dict[str, list[dict[str, Any]]] = {
    "drop_layers": [{"layers": 2, "by": by} for by in ("top", "bottom", "symmetric", "alternate")],
    "build_student": [{"kind": "static", "embedding": 8}, {"kind": "albert", "embedding": 4}, {"kind": "mobilebert"}],
    "prune_ffn": [{"fraction": 1.0, "multiple_of": 4}],
    "prune_heads": [{"fraction": 0.75, "at_least": 1}],
    "prune_weights": [{"fraction": 0.5, "epochs": 1, "batch_size": 8}],
    "prune_width": [{"width": 0.5, "multiple_of": 2, "importance": "magnitude", "refit": False}],
    "share_layers": [{"group": 3, "keep_norms": False, "keep_biases": False}, {"groups": [1, 2], "parts": "feed_forward"}],
    "low_rank": [{"rank": 3, "parts": "attention", "weighting": "none"}],
    "swap_attention": [{"kind": "reformer", "chunk": 4, "buckets": 4}],
    "quantize_aware": [{"epochs": 1, "batch_size": 8, "lsq": True}],
}
"""Other arguments, whose result's shape is known before the work as well."""
GUESSED = {
    "prune_heads": {"fraction": 0.4},
    "prune_ffn": {"fraction": 0.4, "multiple_of": 4},
    "prune_after_training": {"macs": 0.6},
    "prune_weights": {"fraction": 0.4, "shape": "head_row", "importance": "soft_movement"},
    "prune_cofi": {"fraction": 0.5, "multiple_of": 4, "width": True},
    "prune_to_latency": {"speedup": 2.0, "length": 8},
    "drop_layers": {"layers": 2, "by": "contribution"},
}
"""Arguments with which the work alone tells the shape."""
UNTOLD = {"low_rank": {"macs": 0.5}, "factorize_embedding": {"energy": 0.9}}
"""Arguments with which it tells sizes that hardly a later step asks for: one is taken for all."""
KNOWN = [
    (name, arguments)
    for name in HERE
    for arguments in [*([EXAMPLES[name]] if name not in GUESSED else []), *MORE.get(name, [])]
]
ALL = [*KNOWN, *GUESSED.items(), *UNTOLD.items()]


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_timing(monkeypatch)


def applied(name: str, arguments: dict[str, Any], model: PreTrainedModel, run: StepContext, folder: Path) -> PreTrainedModel:
    function = getattr(importlib.import_module(METHODS[name]), name)
    given = {"task": toy_task(max_length=arguments.get("max_length", 24)), **arguments}
    if name == "load_student":
        given = {"checkpoint": str(cp.save(tiny_bert(seed=9, hidden_size=8), folder / f"small-{run.rehearsal}"))}
    if name in ("distill", "prune_cofi"):
        given["teacher"] = tiny_bert(seed=8, layers=3)
    changed: PreTrainedModel = function(model, **given, run=run)
    return changed


def rehearsed(number: int = 0) -> StepContext:
    return StepContext(device="cpu", rehearsal=True, guess=Guess(number))


def shape_of(model: PreTrainedModel) -> dict[str, Any]:
    shape = {
        "class": type(model),
        "config": model.config.to_dict(),
        "vocabulary": model.tokenizer.get_vocab(),
        "sizes": {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()},
    }
    structure = read_structure(model)
    if "quantizers" in structure:
        structure["quantizers"]["inputs"] = sorted(structure["quantizers"]["inputs"])
    structure.get("exits", {}).pop("thresholds", None)  # numbers, no shapes
    return shape | {"structure": structure}


def numbers_of(model: PreTrainedModel) -> tuple[int, int]:
    layers = read_structure(model)["layers"]
    return sum(layer["heads"] for layer in layers), sum(layer["intermediate"] for layer in layers)


@pytest.mark.parametrize(("name", "arguments"), ALL)
def test_a_rehearsal_reads_nothing_and_changes_nothing(
    name: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_bert(layers=3)
    before = state_of(model)
    monkeypatch.setattr(type(model), "forward", lambda *_, **__: pytest.fail("the model ran"))
    monkeypatch.setattr("compress.pruning.deployed.block_times", lambda *_, **__: pytest.fail("something was timed"))
    run, started = rehearsed(), time.process_time()
    changed = applied(name, arguments, model, run, tmp_path)
    assert time.process_time() - started < 1
    assert not differences(before, state_of(model))
    assert not {tensor.data_ptr() for tensor in model.parameters()} & {tensor.data_ptr() for tensor in changed.parameters()}
    assert changed.tokenizer is not model.tokenizer
    assert not changed.training


@pytest.mark.parametrize(("name", "arguments"), KNOWN)
def test_a_rehearsed_model_has_the_shape_of_the_real_one(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    run = rehearsed()
    student = applied(name, arguments, tiny_bert(layers=3), run, tmp_path)
    trained = applied(name, arguments, tiny_bert(layers=3), StepContext(device="cpu"), tmp_path)
    assert shape_of(student) == shape_of(trained)
    assert torch.isfinite(torch.cat([tensor.flatten() for tensor in student.parameters()])).all()


@pytest.mark.parametrize(("name", "arguments"), GUESSED.items())
def test_where_only_the_work_tells_the_shape_there_is_more_than_one(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    run = rehearsed()
    first = applied(name, arguments, tiny_bert(layers=3), run, tmp_path)
    assert run.guess.choices >= 3
    second = applied(name, arguments, tiny_bert(layers=3), rehearsed(1), tmp_path)
    assert read_structure(first) != read_structure(second) or name == "drop_layers"


@pytest.mark.parametrize(("name", "arguments"), [*KNOWN, *UNTOLD.items()])
def test_where_the_shape_is_known_there_is_one(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    run = rehearsed()
    applied(name, arguments, tiny_bert(layers=3), run, tmp_path)
    assert run.guess.choices == 1 or name in ("prune_heads", "prune_ffn")


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", ["prune_heads", "prune_ffn", "prune_weights"])
def test_as_many_heads_and_neurons_go_as_in_the_real_step(name: str, number: int, tmp_path: Path) -> None:
    student = applied(name, GUESSED[name], tiny_bert(layers=3), rehearsed(number), tmp_path)
    trained = applied(
        name,
        GUESSED[name] | ({"epochs": 1, "batch_size": 8} if name == "prune_weights" else {}),
        tiny_bert(layers=3),
        StepContext(device="cpu"),
        tmp_path,
    )
    assert numbers_of(student) == numbers_of(trained)
