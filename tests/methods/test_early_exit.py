"""Texts leave at a lower layer: what learns, what is chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import compress as cp
import compress.methods.early_exit as method
from compress.errors import InputError, NoEffect
from compress.objectives.outputs import Batch, Outputs
from compress.tasks.labelled import Task
from compress.training import ways
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.leaving import every_answer, exits_in, left
from tests.tasks.kinds import ROWS
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_for, tokens, toy_task

HOW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def learned() -> tuple[Any, Task, dict[str, Any]]:
    """A model that has learned the words, its exits too, the task, and what the step told."""
    task, run = toy_task(train=80, others=60), StepContext(device="cpu")
    model = cp.fine_tune(tiny_bert(layers=3, initializer_range=0.05), task=task, epochs=6, learning_rate=1e-2, batch_size=16)
    options: dict[str, Any] = {"epochs": 6, "learning_rate": 1e-2, "batch_size": 16, "max_drop": 0.02}
    return cp.early_exit(model, task=task, run=run, **options), task, run.facts["exits"]


def test_what_the_step_tells_is_what_the_model_does_on_the_selection_part(learned: Any) -> None:
    model, task, facts = learned
    encoded = task.encode(task.selection, model.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(list(range(60))).items()}
    where = left(model, **batch)
    answers, true = every_answer(model, **batch), torch.from_numpy(encoded.labels)
    assert facts["shares"] == pytest.approx([float((where == exit).float().mean()) for exit in range(3)], abs=1e-6)
    assert facts["expected_layers"] == pytest.approx(float((where + 1).float().mean()), abs=1e-4)
    assert facts["accuracies"] == pytest.approx((answers.argmax(-1) == true[:, None]).float().mean(0).tolist(), abs=1e-6)
    assert facts["accuracy"] == pytest.approx(task.score(predict(model, encoded), encoded.labels)["accuracy"])
    assert facts["layers"] == [0, 1]
    assert facts["thresholds"] == exits_in(model).thresholds
    assert not exits_in(model).stacked


def test_no_more_is_lost_than_may_be_and_less_work_is_done(learned: Any) -> None:
    _, _, facts = learned
    assert facts["accuracy"] >= facts["accuracies"][-1] - 0.02 - 1e-9
    assert facts["expected_layers"] < 3


def test_heads_alone_leave_the_model_as_it_was(toy: Task) -> None:
    model = tiny_bert(layers=3)
    student = cp.early_exit(model, task=toy, train="heads", max_drop=1.0, **HOW)
    before, after = state_of(model), state_of(student)
    assert not [name for name in before if not torch.equal(before[name], after[name])]
    exits_in(student).thresholds = [1.0, 1.0]
    assert torch.equal(logits_of(student), logits_of(model))
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("train", ["joint", "alternating"])
def test_the_model_learns_with_its_exits(train: Any, toy: Task) -> None:
    model = tiny_bert(layers=3)
    student = cp.early_exit(model, task=toy, train=train, layers=[1], max_drop=1.0, **HOW)
    changed = differences(state_of(model), state_of(student))
    assert {"classifier.weight", "bert.encoder.layer.0.output.dense.weight", "bert.exits.heads.0.dense.weight"} <= set(changed)
    assert not any("exits.heads.1" in name for name in changed)


def test_kept_features_teach_exits_as_what_is_computed_in_every_step(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {**HOW, "train": "heads", "max_drop": 1.0, "dropout": 0.0}
    kept = every_answer(cp.early_exit(tiny_bert(layers=3), task=toy, **how), **tokens())
    monkeypatch.setattr(ways, "LARGEST_FEATURES", 0)
    computed = every_answer(cp.early_exit(tiny_bert(layers=3), task=toy, **how), **tokens())
    torch.testing.assert_close(kept, computed, atol=1e-2, rtol=1e-2)  # what is kept has sixteen bits


def test_every_other_step_is_the_last_layers_alone(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def loss(student: Outputs, teacher: Outputs | None, batch: Batch, **options: Any) -> torch.Tensor:
        seen.append(student.logits.ndim)
        return method.exit_loss(student, teacher, batch, **options)

    goal = method._goal
    monkeypatch.setattr(
        method,
        "_goal",
        lambda *arguments: replace(
            goal(*arguments), terms={"exits": (1.0, partial(loss, **goal(*arguments).terms["exits"][1].keywords))}
        ),
    )
    method.early_exit(tiny_bert(layers=3), task=toy, train="alternating", max_drop=1.0, **HOW)
    assert seen == [2, 3, 2, 3, 2]
    seen.clear()
    method.early_exit(tiny_bert(layers=3), task=toy, max_drop=1.0, **HOW)
    assert seen == [3] * 5


def loss_of(logits: torch.Tensor, teacher: torch.Tensor | None, labels: torch.Tensor, **options: Any) -> torch.Tensor:
    batch = Batch(labels, torch.ones(len(labels), 1))
    known: dict[str, Any] = {"objectives": (("logits", 2.0), ("labels", 0.5)), "temperature": 2.0, "depths": (1, 2, 3)}
    return method.exit_loss(Outputs(logits), None if teacher is None else Outputs(teacher), batch, **{**known, **options})


def divergence(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """4 times KL at temperature 2, by hand."""
    return 4 * ((other / 2).softmax(-1) * ((other / 2).log_softmax(-1) - (own / 2).log_softmax(-1))).sum(-1).mean()


def test_exits_learn_from_the_last_layer_weighted_by_their_depths() -> None:
    torch.manual_seed(3)
    logits, labels = torch.randn(4, 3, 2), torch.tensor([0, 1, 1, 0])
    first, second, last = logits.unbind(1)
    exits = [2 * divergence(own, last) + 0.5 * functional.cross_entropy(own, labels) for own in (first, second)]
    expected = (1 * exits[0] + 2 * exits[1] + 3 * functional.cross_entropy(last, labels)) / 6
    torch.testing.assert_close(loss_of(logits, None, labels), expected)


def test_a_teacher_stands_in_the_place_of_the_last_layer() -> None:
    torch.manual_seed(3)
    logits, teacher, labels = torch.randn(4, 3, 2), torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    each = [2 * divergence(own, teacher) + 0.5 * functional.cross_entropy(own, labels) for own in logits.unbind(1)]
    torch.testing.assert_close(loss_of(logits, teacher, labels), (1 * each[0] + 2 * each[1] + 3 * each[2]) / 6)
    alone = loss_of(logits[:, -1], None, labels)
    torch.testing.assert_close(alone, functional.cross_entropy(logits[:, -1], labels))


def test_the_last_layer_learns_nothing_from_its_exits() -> None:
    logits = torch.randn(4, 3, 2, requires_grad=True)
    loss_of(logits, None, torch.tensor([0, 1, 1, 0]), objectives=(("logits", 1.0),)).backward()
    own = logits.detach().requires_grad_(True)
    (functional.cross_entropy(own[:, -1], torch.tensor([0, 1, 1, 0])) * 3 / 6).backward()
    assert logits.grad is not None
    assert own.grad is not None
    torch.testing.assert_close(logits.grad[:, -1], own.grad[:, -1])


def test_a_teacher_of_another_shape_teaches(toy: Task) -> None:
    teacher = tiny_bert(seed=8, layers=4, hidden_size=8)
    taught = cp.early_exit(tiny_bert(layers=3), teacher=teacher, task=toy, max_drop=1.0, **HOW)
    alone = cp.early_exit(tiny_bert(layers=3), task=toy, max_drop=1.0, **HOW)
    assert differences(state_of(taught), state_of(alone))


def test_where_nobody_may_leave_the_step_has_no_effect(toy: Task) -> None:
    model = cp.fine_tune(tiny_bert(layers=3, initializer_range=0.05), task=toy, epochs=6, learning_rate=1e-2, batch_size=8)
    turned = replace(toy, train=replace(toy.train, labels=1 - toy.train.labels))  # whoever learns this is wrong
    how: dict[str, Any] = {**HOW, "train": "heads", "objectives": {"labels": 1.0}, "epochs": 20, "learning_rate": 1e-2}
    with pytest.raises(NoEffect, match="no text of the selection part may leave before the last layer"):
        cp.early_exit(model, task=turned, max_drop=0.0, **how)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [5]}, "early_exit.layers names 5, which does not exist; allowed: 0 to 1"),
        ({"layers": [2]}, "names 2, which is the last one, where all texts leave anyway"),
        ({"layers": []}, "early_exit.layers"),
        ({"layers": [-1]}, "early_exit.layers"),
        ({"max_drop": 1.5}, "early_exit.max_drop is 1.5"),
        ({"max_drop": -0.1}, "early_exit.max_drop is -0.1"),
        ({"measure": "patience"}, "early_exit.measure is 'patience'"),
        ({"train": "some"}, "early_exit.train is 'some'"),
        ({"objectives": {"hidden": 1.0}}, "early_exit.objectives"),
        ({"objectives": {}}, "early_exit.objectives"),
        ({"objectives": {"labels": 0.0}}, "early_exit.objectives"),
        ({"threshold": 0.5}, "early_exit has no option threshold"),
    ],
)
def test_values_that_are_not_allowed_are_refused(options: dict[str, Any], message: str, toy: Task) -> None:
    with pytest.raises(InputError, match=message):
        cp.early_exit(tiny_bert(layers=3), task=toy, **options)


OTHERS = [kind for kind in ROWS if kind not in ("text-classification", "sequence-to-sequence")]


@pytest.mark.parametrize("kind", OTHERS)
def test_kinds_without_one_label_for_a_text_are_refused(kind: str, tmp_path: Path) -> None:
    rows: Callable[[Path, int], Path] = ROWS[kind]
    task = cp.task({"train": str(rows(tmp_path, 60))}, kind=kind)
    with pytest.raises(InputError, match=f"early_exit needs one label for each text, but {kind} has other answers"):
        cp.early_exit(tiny_for(task), task=task)


def test_exits_of_a_model_that_quantizes_stay_float(toy: Task, tmp_path: Path) -> None:
    quantized = cp.quantize_aware(tiny_bert(layers=3), task=toy, **HOW)
    student = cp.early_exit(quantized, task=toy, train="heads", max_drop=1.0, **HOW)
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(student))
    assert all(type(head.dense) is torch.nn.Linear for head in exits_in(again).heads)
