"""Labels that count more: weights and the focal loss against torch's own losses and hand calculations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import compress as cp
from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.fine_tune import fine_tune
from compress.tasks.emphasis import EVEN, Emphasis, balanced, binary_cross_entropy, cross_entropy, emphasis_of
from compress.training.step_context import StepContext
from tests.tasks.kinds import ROWS
from tests.tiny_models import state_of, tiny_bert, tiny_for, toy_task, without_dropout

LOGITS = torch.randn((6, 3), generator=torch.Generator().manual_seed(2)) * 2
IDS = torch.tensor([0, 2, 1, 1, 0, 2])
WEIGHTS = (0.5, 2.0, 3.0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_count_as_torch_s_do(reduction: Any) -> None:
    expected = functional.cross_entropy(LOGITS, IDS, weight=torch.tensor(WEIGHTS), reduction=reduction)
    torch.testing.assert_close(cross_entropy(LOGITS, IDS, reduction, Emphasis(WEIGHTS)), expected)


def test_rows_that_are_ignored_count_for_nothing() -> None:
    ids = torch.cat([IDS, torch.tensor([-100, -100])])
    logits = torch.cat([LOGITS, torch.full((2, 3), 7.0)])
    for emphasis in (EVEN, Emphasis(WEIGHTS), Emphasis(focal=2.0), Emphasis(WEIGHTS, 2.0)):
        torch.testing.assert_close(cross_entropy(logits, ids, "mean", emphasis), cross_entropy(LOGITS, IDS, "mean", emphasis))
    expected = functional.cross_entropy(logits, ids, weight=torch.tensor(WEIGHTS))
    torch.testing.assert_close(cross_entropy(logits, ids, "mean", Emphasis(WEIGHTS)), expected)


def test_a_certain_probability_counts_as_the_label_does() -> None:
    certain = functional.one_hot(IDS, 3).float()
    for emphasis in (EVEN, Emphasis(WEIGHTS), Emphasis(WEIGHTS, 2.0)):
        expected = cross_entropy(LOGITS, IDS, "mean", emphasis)
        torch.testing.assert_close(cross_entropy(LOGITS, certain, "mean", emphasis), expected)


def test_an_answer_counts_by_the_power_of_how_far_it_is_from_right() -> None:
    """Softmax gives 3/4 and 1/4."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    right, wrong = (cross_entropy(logits, torch.tensor([label]), "mean", Emphasis(focal=2.0)).item() for label in (0, 1))
    assert right == pytest.approx(0.25**2 * math.log(4 / 3))
    assert wrong == pytest.approx(0.75**2 * math.log(4))
    both = cross_entropy(logits.repeat(2, 1), torch.tensor([0, 1]), "mean", Emphasis((1.0, 3.0), 2.0)).item()
    assert both == pytest.approx((right + 3 * wrong) / 4)
    half = cross_entropy(logits, torch.tensor([[0.5, 0.5]]), "mean", Emphasis(focal=2.0)).item()
    assert half == pytest.approx((right + wrong) / 2)


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_the_gradient_is_finite_where_an_answer_is_as_right_as_can_be(focal: float) -> None:
    for loss, targets in ((cross_entropy, torch.tensor([0])), (binary_cross_entropy, torch.tensor([[1.0, 0.0]]))):
        logits = torch.tensor([[90.0, -90.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(logits, targets, "mean", Emphasis((2.0, 1.0), focal)), logits)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_label_s_weight_is_that_of_the_texts_that_have_it(reduction: Any) -> None:
    marks = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.25]])
    losses = functional.binary_cross_entropy_with_logits(
        LOGITS[:2], marks, pos_weight=torch.tensor(WEIGHTS), reduction="none"
    ).mean(-1)
    expected = losses.mean() if reduction == "mean" else losses.sum()
    torch.testing.assert_close(binary_cross_entropy(LOGITS[:2], marks, reduction, Emphasis(WEIGHTS)), expected)


def test_of_several_labels_each_is_focal_by_itself() -> None:
    """Sigmoids are 3/4 where the label stands and 1/4 where it does not, then the other way round."""
    logits = torch.tensor([[math.log(3.0), -math.log(3.0)], [-math.log(3.0), math.log(3.0)]])
    marks = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    right, wrong = 0.25**2 * math.log(4 / 3), 0.75**2 * math.log(4)
    assert binary_cross_entropy(logits, marks, "mean", Emphasis(focal=2.0)).item() == pytest.approx((right + wrong) / 2)
    assert binary_cross_entropy(logits, marks, "sum", Emphasis(focal=2.0)).item() == pytest.approx(right + wrong)


def test_balanced_weights_are_scikit_learn_s() -> None:
    ids = np.repeat([0, 1, 2], [6, 3, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=ids)
    np.testing.assert_allclose(balanced(np.bincount(ids)), expected)
    np.testing.assert_allclose(balanced(np.array([6, 0, 3, 1])), [expected[0], 1.0, *expected[1:]])


def test_of_several_labels_balanced_is_absent_for_each_that_is_there(tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS["multi-label-classification"](tmp_path, 120))}, kind="multi-label-classification")
    there = read.train.labels.sum(0)
    np.testing.assert_allclose(read.rules.balanced(read.train, read.labels), (len(read.train) - there) / there)


def test_of_words_balanced_is_by_the_words_of_each_tag(tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS["token-classification"](tmp_path, 120))}, kind="token-classification")
    tags = np.concatenate(list(read.train.labels))
    expected = compute_class_weight("balanced", classes=np.unique(tags), y=tags)
    np.testing.assert_allclose(read.rules.balanced(read.train, read.labels)[np.unique(tags)], expected)


def test_weights_by_name_are_1_for_those_that_are_left_out() -> None:
    task = toy_task()
    assert emphasis_of("fine_tune", {"good": 3.0}, 0.0, task) == Emphasis((1.0, 3.0))
    assert emphasis_of("fine_tune", None, 2.0, task) == Emphasis((), 2.0)
    assert emphasis_of("fine_tune", None, 0.0, task) is EVEN
    assert emphasis_of("fine_tune", "balanced", 1.0, task) == Emphasis((1.0, 1.0), 1.0)  # as many of each


@pytest.mark.parametrize("kind", ["regression", "question-answering"])
@pytest.mark.parametrize(("key", "value"), [("class_weights", "balanced"), ("focal", 2.0)])
def test_a_kind_without_labels_is_refused_by_name(kind: str, key: str, value: Any, tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=24)
    with pytest.raises(InputError, match=rf"fine_tune\.{key} weighs labels, but a task of {kind} has none; leave it out"):
        fine_tune(tiny_for(read), task=read, **{key: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_weights": {"god": 2.0}}, "class_weights names god; the labels are bad, good"),
        ({"class_weights": {"good": 0.0}}, "greater than 0"),
        ({"class_weights": "heavy"}, "'balanced'"),
        ({"focal": -1.0}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fine_tune(tiny_bert(), task=toy_task(), run=StepContext(device="cpu"), **options)


def test_distillation_weighs_its_labels_objective_and_no_other() -> None:
    teacher, student, task = tiny_bert(seed=8), tiny_bert(), toy_task()
    how: dict[str, Any] = {"teacher": teacher, "task": task, "epochs": 1, "batch_size": 20}
    with pytest.raises(InputError, match=r"distill\.focal weighs the labels objective, .* add it, or remove focal"):
        distill(student, objectives={"logits": 1.0}, focal=2.0, **how)
    objectives = {"logits": 0.5, "labels": 0.5}
    results = [
        state_of(distill(student, objectives=objectives, run=StepContext(device="cpu"), **options, **how))
        for options in ({}, {"class_weights": {"good": 1.0}}, {"class_weights": {"good": 9.0}}, {"focal": 2.0})
    ]
    weights = [state["classifier.weight"] for state in results]
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])
    assert not torch.allclose(weights[0], weights[3])


@pytest.mark.slow
def test_what_is_taught_more_is_answered_more_often() -> None:
    """The same text everywhere, which is good once in four times."""
    task = toy_task(train=160)
    labels = np.arange(len(task.train), dtype=np.int64) % 4 // 3
    task = replace(task, train=task.train.pick(np.zeros(len(labels), dtype=np.int64)))
    task.train.labels[:] = labels
    shares = []
    for weights in (None, "balanced"):
        options: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-2, "batch_size": 4, "class_weights": weights}
        tuned = fine_tune(tiny_bert(layers=1, **without_dropout()), task=task, run=StepContext(device="cpu"), **options)
        inputs = tuned.tokenizer([task.train.texts[0]], return_tensors="pt")
        shares.append(tuned(**inputs).logits.softmax(-1)[0, 1].item())
    assert shares == pytest.approx([0.25, 0.5], abs=0.05)
