"""What of a model learns: only that changes, and what stays is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

import compress as cp
from compress.errors import InputError
from compress.models.families import KNOWN
from compress.models.layout import encoder_layers
from compress.tasks.labelled import Task
from compress.training import ways
from compress.training.step_context import StepContext
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, differences, logits_of, state_of, tiny_bert, tiny_of, without_dropout

WAYS: tuple[Any, ...] = ("head", "layer_mix", "adapters", "lora")
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A number for each time that a layer of BERT computes."""
    calls: list[int] = []
    forward = BertLayer.forward

    def counted(layer: BertLayer, *args: Any, **options: Any) -> Any:
        calls.append(1)
        return forward(layer, *args, **options)

    monkeypatch.setattr(BertLayer, "forward", counted)
    return calls


def changed(model: PreTrainedModel, tuned: PreTrainedModel) -> set[str]:
    """Names of the weights that are others."""
    before, after = state_of(model), state_of(tuned)
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert"]))
def test_of_a_head_nothing_else_changes(kind: str, toy: Task) -> None:
    model = tiny_of(kind)
    names = changed(model, cp.fine_tune(model, task=toy, train="head", **QUICK))
    assert names
    base = f"{model.base_model_prefix}."
    assert all(name.startswith(KNOWN[kind].head) or not name.startswith(base) for name in names)


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert"]))
@pytest.mark.parametrize("train", ["head", {"layers": [1]}], ids=str)
def test_features_that_are_kept_teach_as_those_that_are_computed_in_every_step(
    kind: str, train: Any, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "albert" and train != "head":
        pytest.skip("its layers are one")
    model = tiny_of(kind)
    how: dict[str, Any] = {**QUICK, "epochs": 1, "learning_rate": 2e-3, "task": toy, "train": train, "dropout": 0.0}
    kept = logits_of(cp.fine_tune(model, **how))
    monkeypatch.setattr(ways, "LARGEST_FEATURES", 0)
    computed = logits_of(cp.fine_tune(model, **how))
    learned = (computed - logits_of(model)).norm()
    assert (kept - computed).norm() < 0.2 * learned  # what is kept has sixteen bits


def test_layers_that_stay_run_once_however_long_the_head_learns(toy: Task, runs: list[int]) -> None:
    model = tiny_bert()
    counts = []
    for epochs in (1, 6):
        runs.clear()
        cp.fine_tune(model, task=toy, train="head", **{**QUICK, "epochs": epochs})
        counts.append(len(runs))
    assert counts[0] == counts[1] > 0


def test_features_that_were_kept_serve_another_run(toy: Task, tmp_path: Path, runs: list[int]) -> None:
    model = tiny_bert()
    first = cp.fine_tune(model, task=toy, train="head", run=StepContext(answers=tmp_path), **QUICK)
    runs.clear()
    again = cp.fine_tune(model, task=toy, train="head", run=StepContext(answers=tmp_path), **QUICK)
    assert not differences(state_of(first), state_of(again))
    assert len(runs) <= 2 * 2  # which tell the shapes of what is kept, of two parts


def test_layers_learn_with_the_head_and_what_lies_below_and_above_stays(toy: Task) -> None:
    model = tiny_bert(layers=3)
    names = changed(model, cp.fine_tune(model, task=toy, train={"layers": [1]}, **QUICK))
    assert any("layer.1." in name for name in names)
    assert all(name.startswith(("bert.encoder.layer.1.", "classifier.", "bert.pooler.")) for name in names)


def test_all_is_what_is_trained_where_nothing_is_said(toy: Task, exact: None) -> None:
    model = tiny_bert(**without_dropout())
    default, every = (cp.fine_tune(model, task=toy, **QUICK, **how) for how in ({}, {"train": "all"}))
    assert not differences(state_of(default), state_of(every))
    assert any("layer.0." in name for name in changed(model, default))


def test_a_trained_head_leaves_a_model_that_learns_as_a_whole_again(toy: Task) -> None:
    tuned = cp.fine_tune(tiny_bert(), task=toy, train="head", **QUICK)
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    assert all("forward" not in vars(layer) for layer in encoder_layers(tuned))
    assert not tuned._forward_pre_hooks
    assert any("layer.0." in name for name in changed(tuned, cp.fine_tune(tuned, task=toy, **QUICK)))


def _shared(toy: Task) -> PreTrainedModel:
    return cp.share_layers(tiny_bert(), task=toy, group=2)


def _static(toy: Task) -> PreTrainedModel:
    return cp.build_student(tiny_bert(), kind="static", task=toy)


@pytest.mark.parametrize(
    ("make", "layers", "message"),
    [
        (lambda _: tiny_bert(), [0, 2], "train.layers names 2, but the model's layers are from 0 to 1"),
        (_shared, [1], "leaves out layer 0, which shares its weights"),
        (_static, [0], "the model's layers are none, since it has no encoder"),
    ],
)
def test_what_cannot_learn_alone_is_refused(make: Any, layers: list[int], message: str, toy: Task) -> None:
    with pytest.raises(InputError, match=message):
        cp.fine_tune(make(toy), task=toy, train={"layers": layers}, **QUICK)


@pytest.mark.parametrize("objectives", [{"logits": 1.0}, {"logits": 1.0, "hidden": 1.0}], ids=str)
def test_a_student_s_head_alone_is_taught(objectives: dict[str, float], toy: Task) -> None:
    student, teacher = tiny_bert(), tiny_bert(seed=8)
    taught = cp.distill(student, teacher=teacher, task=toy, objectives=objectives, train="head", **QUICK)
    assert changed(student, taught) == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    with pytest.raises(InputError, match=r"distill.progressive lets one layer learn after the other, but train is 'head'"):
        cp.distill(student, teacher=teacher, task=toy, objectives=objectives, train="head", progressive=True)


def test_a_rehearsal_gives_the_shape_that_the_work_will_have(toy: Task) -> None:
    """So that what has to come before is refused before anything is trained."""
    rehearsed = {way: cp.fine_tune(tiny_bert(), task=toy, train=way, run=StepContext(rehearsal=True)) for way in WAYS}
    for way in ("adapters", "layer_mix"):
        with pytest.raises(InputError, match="before fine_tune"):
            cp.prune_heads(rehearsed[way], task=toy, fraction=0.5)
    for way in ("head", "lora"):
        assert state_of(rehearsed[way]).keys() == state_of(tiny_bert()).keys()
    assert all(parameter.requires_grad for model in rehearsed.values() for parameter in model.parameters())


def test_a_recipe_s_words_are_checked(toy: Task) -> None:
    with pytest.raises(InputError, match="train"):
        cp.fine_tune(tiny_bert(), task=toy, train="heads", **QUICK)  # type: ignore[arg-type]
