"""A weighted sum of all layers: what it is, what learns of it, and that it stays with the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.layer_mix import mix_of, set_mix
from compress.models.states import recorded
from compress.tasks.labelled import Task
from compress.training import ways
from compress.training.step_context import StepContext
from tests.models.test_adapters import adapted
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, differences, logits_of, state_of, tiny_bert, tiny_of, tokens

HOW: dict[str, Any] = {"train": "layer_mix", "epochs": 3, "batch_size": 8, "learning_rate": 1e-2}
__all__ = ["adapted"]


def mixing(kind: str = "bert", **shape: Any) -> PreTrainedModel:
    """A model that mixes its layers unevenly."""
    model = tiny_of(kind, **shape)
    with torch.no_grad():
        mix = set_mix(model)
        mix.weights.copy_(torch.linspace(-1, 1, len(mix.weights)))
        mix.scale.fill_(1.5)
    return model


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "albert"]))
def test_the_head_reads_the_sum_that_the_paper_says(kind: str) -> None:
    model, plain = mixing(kind, layers=3), tiny_of(kind, layers=3)
    wanted: list[Any] = [("hidden", layer) for layer in range(4)]
    with torch.no_grad(), recorded(plain, wanted) as states:
        plain(**tokens())
    with torch.no_grad(), recorded(model, [("hidden", 3)]) as mixed:
        model(**tokens())
    shares = torch.linspace(-1, 1, 4).softmax(0)
    total = 1.5 * sum(share * states[state] for share, state in zip(shares, wanted, strict=True))
    torch.testing.assert_close(mixed["hidden", 3], total)


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "albert"]))
def test_it_stays_with_the_model_wherever_that_goes(kind: str, toy: Task, tmp_path: Path) -> None:
    tuned = cp.fine_tune(tiny_of(kind), task=toy, **HOW)
    answers = logits_of(tuned)
    assert torch.equal(logits_of(cp.load(cp.save(tuned, tmp_path / "saved"))), answers)
    assert torch.equal(logits_of(copy.deepcopy(tuned)), answers)
    shipped = cp.export(tuned, tmp_path / "shipped", target="onnxruntime-cpu", task=toy)
    assert shipped.stages[-1].accepted


def test_the_mix_and_the_head_learn_and_nothing_else(toy: Task) -> None:
    model, run = tiny_bert(), StepContext()
    tuned = cp.fine_tune(model, task=toy, run=run, **HOW)
    mix = mix_of(tuned)
    assert mix is not None
    assert not torch.equal(mix.weights, torch.zeros(3))
    assert not torch.equal(mix.scale, torch.ones(1))
    assert run.facts["layer_mix"] == pytest.approx(mix.shares.tolist(), abs=1e-4)
    before, after = state_of(model), state_of(tuned)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("classifier.", "bert.pooler.")) for name in changed)
    assert after.keys() - before.keys() == {"bert.layer_mix.weights", "bert.layer_mix.scale"}


@pytest.mark.parametrize("train", ["layer_mix", "head"])
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_features_of_all_layers_teach_as_what_is_computed_in_every_step(
    kind: str, train: str, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mixing(kind)
    how: dict[str, Any] = {**HOW, "train": train, "epochs": 1, "dropout": 0.0, "learning_rate": 2e-3}
    kept = logits_of(cp.fine_tune(model, task=toy, **how))
    monkeypatch.setattr(ways, "LARGEST_FEATURES", 0)
    computed = logits_of(cp.fine_tune(model, task=toy, **how))
    assert (kept - computed).norm() < 0.2 * (computed - logits_of(model)).norm()  # what is kept has sixteen bits


def test_all_of_a_model_that_mixes_learns_too(toy: Task) -> None:
    model = mixing()
    tuned = cp.fine_tune(model, task=toy, **{**HOW, "train": "all"})
    before, after = state_of(model), state_of(tuned)
    assert not torch.equal(before["bert.layer_mix.weights"], after["bert.layer_mix.weights"])
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


def test_a_pass_that_was_broken_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixing()
    answers = logits_of(model)
    second = model.bert.encoder.layer[1]
    with monkeypatch.context() as patch:
        patch.setattr(second, "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits_of(model)
    assert torch.equal(logits_of(model), answers)


def test_adapters_and_a_mix_stand_in_one_model(adapted: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    both = cp.fine_tune(adapted, task=toy, **HOW)
    assert torch.equal(logits_of(cp.load(cp.save(both, tmp_path / "saved"))), logits_of(both))
    quantized = cp.quantize_aware(both, task=toy, epochs=1, batch_size=8)
    assert torch.equal(logits_of(cp.load(cp.save(quantized, tmp_path / "quantized"))), logits_of(quantized))
    assert differences(state_of(quantized), state_of(both))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, toy: cp.drop_layers(model, task=toy, keep=[0]), "mixes its layers, each with a weight of its own"),
        (lambda model, toy: cp.theseus(model, task=toy, modules=1, epochs=1), "mixes its layers"),
        (lambda model, toy: cp.prune_heads(model, task=toy, fraction=0.5), "mixes its layers; prune it before fine_tune"),
        (lambda model, toy: cp.share_layers(model, task=toy, group=2), "mixes its layers; share its layers before fine_tune"),
    ],
)
def test_layers_that_are_mixed_are_not_changed(change: Callable[..., Any], message: str, toy: Task) -> None:
    with pytest.raises(InputError, match=message):
        change(mixing(), toy)


def test_a_model_without_layers_mixes_none(toy: Task) -> None:
    student = cp.build_student(tiny_bert(), kind="static", task=toy)
    with pytest.raises(InputError, match="has no layers to mix; train all of it"):
        cp.fine_tune(student, task=toy, **HOW)


def test_a_structure_that_tells_something_else_is_refused(toy: Task, tmp_path: Path) -> None:
    folder = cp.save(mixing(), tmp_path / "saved")
    path = folder / "structure.json"
    path.write_text(path.read_text().replace('"layer_mix": true', '"layer_mix": 3'))
    with pytest.raises(InputError, match="layer_mix must be true where it stands"):
        cp.load(folder)
