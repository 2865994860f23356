"""What every method must keep, over the whole table."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

import compress as cp
from compress.methods import METHODS
from compress.models.layout import parameter_count
from compress.models.quantizers import quantizers_off
from compress.training.step_context import StepContext
from tests.pruning.times import stand_in_for_timing
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tokens, toy_task

EXAMPLES: dict[str, dict[str, Any]] = {
    "fine_tune": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3},
    "drop_layers": {"keep": [1]},
    "build_student": {"layers": 1, "width": 8, "intermediate": 12, "heads": 2},
    "load_student": {},
    "distill": {"epochs": 1, "batch_size": 8, "objectives": {"logits": 1.0, "labels": 0.5, "hidden": 0.1}},
    "theseus": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "modules": 1},
    "prune_heads": {"fraction": 0.4},
    "prune_ffn": {"fraction": 0.4, "multiple_of": 4},
    "prune_after_training": {"macs": 0.6},
    "prune_weights": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "fraction": 0.5, "shape": "head_row"},
    "prune_cofi": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "fraction": 0.5, "multiple_of": 4},
    "prune_width": {"width": 8, "multiple_of": 4},
    "prune_to_latency": {"speedup": 2.0, "schedule": [1.3], "length": 8, "trials": 2, "batch_size": 8},
    "trim_vocabulary": {"max_length": 12},
    "share_layers": {"group": 2},
    "factorize_embedding": {"rank": 4},
    "spell_words": {"filters": [[1, 3], [2, 4]], "steps": 5},
    "low_rank": {"rank": 3},
    "swap_attention": {"kind": "longformer", "window": 4},
    "quantize_aware": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3},
    "calibrate": {},
    "early_exit": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "max_drop": 1.0},
}
"""Arguments with which each method does something to a model of two layers."""

FOR_WRITERS = {"build_decoder"}
"""Of models that write texts, which do not answer for a text; held to the same by tests of their own."""
HERE = [name for name in METHODS if name not in FOR_WRITERS]
FIRST = {"drop_layers": {"keep": [0, 1]}, "prune_width": {"width": 12, "multiple_of": 4}}
"""Other arguments, that leave something for the examples to do."""
KEEPS_ANSWERS = {"trim_vocabulary"}
PRUNING = [name for name in METHODS if name.startswith("prune_") or name == "drop_layers"]


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table stands in for what a method times here."""
    stand_in_for_timing(monkeypatch)


def _applied(name: str, model: PreTrainedModel, seed: int = 13, **changes: Any) -> PreTrainedModel:
    function = getattr(importlib.import_module(METHODS[name]), name)
    arguments = {**EXAMPLES[name], **changes}
    if name == "load_student":
        return _another(function, model, seed)
    if name in ("distill", "prune_cofi"):
        arguments["teacher"] = tiny_bert(seed=8)
    if name != "drop_layers":
        arguments |= {
            "task": toy_task(max_length=arguments.get("max_length", 24)),
            "run": StepContext(seed=seed, device="cpu"),
        }
    changed: PreTrainedModel = function(model, **arguments)
    return changed


def _another(function: Any, model: PreTrainedModel, seed: int) -> PreTrainedModel:
    with tempfile.TemporaryDirectory() as folder:
        path = cp.save(tiny_bert(seed=9, hidden_size=8), Path(folder) / "small")
        student: PreTrainedModel = function(model, checkpoint=str(path), run=StepContext(seed=seed))
    return student


def test_every_method_has_an_example_here_and_is_public() -> None:
    assert set(EXAMPLES) == set(HERE)
    assert set(METHODS) <= set(cp.__all__)


@pytest.mark.parametrize("name", HERE)
def test_the_model_that_comes_in_is_left_alone_and_shares_nothing(name: str) -> None:
    model = tiny_bert()
    before = state_of(model)
    changed = _applied(name, model)
    assert not differences(before, state_of(model))
    shared = {tensor.data_ptr() for tensor in model.parameters()} & {tensor.data_ptr() for tensor in changed.parameters()}
    assert not shared


@pytest.mark.parametrize("name", HERE)
def test_the_shape_of_the_answers_stays_and_the_answers_change(name: str) -> None:
    model = tiny_bert()
    before, after = logits_of(model), logits_of(_applied(name, model))
    assert after.shape == before.shape
    assert torch.equal(before, after) if name in KEEPS_ANSWERS else not torch.allclose(before, after)


@pytest.mark.parametrize("name", HERE)
def test_a_saved_result_answers_the_same_when_loaded(name: str, tmp_path: Path) -> None:
    changed = _applied(name, tiny_bert())
    again = cp.load(cp.save(changed, tmp_path / "saved"))
    assert torch.equal(logits_of(changed), logits_of(again))


@pytest.mark.matrix
@pytest.mark.slow
def test_saved_results_answer_the_same_in_a_new_process(tmp_path: Path) -> None:
    before = {}
    for name in HERE:
        changed = _applied(name, tiny_bert())
        cp.save(changed, tmp_path / name)
        before[name] = logits_of(changed)
    save_file(tokens(), tmp_path / "tokens")
    code = (
        "import sys, compress as cp; from safetensors.torch import load_file, save_file; batch = load_file('tokens'); "
        "save_file({name: cp.load(name)(**batch).logits.detach() for name in sys.argv[1:]}, 'answers')"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, *HERE], cwd=tmp_path, check=True, env=environment)
    after = load_file(tmp_path / "answers")
    assert not [name for name in HERE if not torch.equal(after[name], before[name])]


@pytest.mark.parametrize("second", PRUNING)
@pytest.mark.parametrize("first", mostly_matrix(PRUNING, always=["prune_heads", "prune_width"]))
def test_a_pruned_model_can_be_pruned_again(first: str, second: str, tmp_path: Path) -> None:
    smaller = _applied(first, tiny_bert(layers=3), **FIRST.get(first, {}))
    again = _applied(second, smaller)
    assert parameter_count(again) < parameter_count(smaller)
    assert torch.equal(logits_of(cp.load(cp.save(again, tmp_path / "saved"))), logits_of(again))


@pytest.mark.parametrize("name", HERE)
def test_the_same_seed_gives_the_same_result(name: str) -> None:
    first, second = (_applied(name, tiny_bert()) for _ in range(2))
    assert not differences(state_of(first), state_of(second))


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_matrix(HERE, always=["prune_heads", "swap_attention"]))
def test_a_result_exports_and_answers_the_same_at_other_sizes(name: str, tmp_path: Path) -> None:
    """A float target writes the float weights of a model that quantizes."""
    changed = _applied(name, tiny_bert())
    longest = changed.config.max_position_embeddings
    shipped = cp.export(changed, tmp_path / "out", target="onnxruntime-cpu", task=toy_task(max_length=longest))
    session = onnxruntime.InferenceSession(str(shipped.path / "model.onnx"), providers=["CPUExecutionProvider"])
    for lengths in ((1,), (longest,), (5, 5, 5), (9, 4, 1, 7)):
        batch = tokens(lengths=lengths)
        (logits,) = session.run(["logits"], {key: values.numpy() for key, values in batch.items()})
        with quantizers_off(changed):
            expected = logits_of(changed, **batch).numpy()
        assert np.abs(logits - expected).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_matrix(PRUNING, always=["prune_heads", "prune_width"]))
def test_every_linear_of_a_pruned_model_is_quantized(name: str, tmp_path: Path) -> None:
    """Uneven heads included, which pattern matchers of attention skip."""
    changed = _applied(name, tiny_bert())
    shipped = cp.export(changed, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), max_flips=1.0)
    last = shipped.stages[-1]
    assert set(last.stayed_float) <= {"classifier"}
    assert last.integer_ops > 0
