"""Objectives become terms with weights, and a teacher answers no more often than they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.objectives.outputs import Batch, Outputs
from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers, LiveAnswers, answered
from compress.training.predict import on_device
from compress.training.projection import fitted_projection
from compress.training.step_context import StepContext
from compress.training.teaching import Distillation, training_loss_of
from compress.training.training_loss import TrainingLoss
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_tokenizer


def goal(
    objectives: dict[str, float],
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    task: Task,
    run: StepContext | None = None,
    **how: Any,
) -> TrainingLoss:
    """What the method "teach" makes of objectives at temperature 3."""
    how = Distillation(**{"temperature": 3.0, **how})
    return training_loss_of(
        "teach", objectives, how, student=student, teacher=teacher, task=task, run=run or StepContext(device="cpu")
    )


@pytest.mark.parametrize(
    ("objectives", "named"),
    [
        ({"logits": 1.0}, "logits"),
        ({"hidden": 1.0}, "hidden"),
        ({"labels": 1.0, "hidden": 0.1, "logits": 1.0}, "hidden"),
    ],
)
def test_objectives_that_look_at_a_teacher_are_refused_without_one(
    model: PreTrainedModel, toy: Task, objectives: dict[str, float], named: str
) -> None:
    said = rf"teach\.objectives names '{named}', which looks at a teacher; give teacher, or use labels"
    with pytest.raises(InputError, match=said):
        goal(objectives, forbid_forward_passes(model), None, toy)


def test_labels_need_no_teacher(model: PreTrainedModel, toy: Task) -> None:
    made = goal({"labels": 2.0}, forbid_forward_passes(model), None, toy)
    assert (made.states, made.teacher) == (frozenset(), None)
    assert {name: weight for name, (weight, _) in made.terms.items()} == {"labels": 2.0}


def test_a_teacher_that_no_objective_looks_at_does_not_answer(model: PreTrainedModel, toy: Task) -> None:
    made = goal({"labels": 1.0}, model, forbid_forward_passes(tiny_bert(seed=8)), toy)
    assert (made.states, made.teacher) == (frozenset(), None)


def test_a_teacher_s_logits_are_those_of_each_training_example_and_it_stays_as_it_is(
    model: PreTrainedModel, toy: Task, exact: None
) -> None:
    teacher = tiny_bert(seed=8)
    before = state_of(teacher)
    made = goal({"logits": 1.0, "labels": 1.0}, forbid_forward_passes(model), teacher, toy)
    encoded = toy.encode(toy.train, teacher.tokenizer)
    logits = [
        logits_of(teacher, **{name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()})
        for index in range(len(encoded))
    ]
    assert isinstance(made.teacher, KnownAnswers)
    np.testing.assert_allclose(made.teacher.logits, torch.cat(logits).numpy(), rtol=1e-4, atol=1e-5)
    assert not differences(state_of(teacher), before)
    assert not teacher.training


def test_a_teacher_whose_hidden_states_are_read_answers_in_every_step(model: PreTrainedModel, toy: Task) -> None:
    teacher = forbid_forward_passes(tiny_bert(seed=8))
    made = goal({"hidden": 1.0, "logits": 1.0}, model, teacher, toy)
    assert isinstance(made.teacher, LiveAnswers)
    assert made.teacher.teacher is teacher
    assert made.states == {("hidden", 1), ("hidden", 2)}


def test_an_objective_gets_the_options_that_it_takes(model: PreTrainedModel, toy: Task) -> None:
    """T² times the divergence of (1/4, 3/4) from (3/4, 1/4), both at temperature 3."""
    terms = goal({"logits": 0.5, "labels": 2.0}, model, tiny_bert(seed=8), toy).terms
    said, target = (3 * torch.tensor([odds]).log() for odds in ([1.0, 3.0], [3.0, 1.0]))
    batch = Batch(torch.tensor([1]), torch.ones(1, 4))
    weight, term = terms["logits"]
    assert weight == 0.5
    assert term(Outputs(said), Outputs(target), batch).item() == pytest.approx(9 * 0.5 * np.log(3), rel=1e-5)
    weight, term = terms["labels"]
    assert weight == 2.0
    assert term(Outputs(said), None, batch).item() == pytest.approx(-np.log(27 / 28), rel=1e-4)


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (
            {"logit": 1.0, "labels": 0.0},
            r"teach\.objectives names 'logit'; allowed: labels, logits, logit_mse, margin_mse, hidden",
        ),
        ({"logit": 1.0, "labels": 0.0}, r"teach\.objectives\.labels is 0\.0; it must be above 0"),
        ({"labels": -1.0}, r"teach\.objectives\.labels is -1\.0"),
        ({}, r"teach\.objectives is empty; name at least one of labels, logits, logit_mse, margin_mse, hidden"),
    ],
)
def test_objectives_that_cannot_be_are_refused_all_at_once(
    model: PreTrainedModel, toy: Task, objectives: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        goal(objectives, forbid_forward_passes(model), None, toy)


def test_a_teacher_that_does_not_fit_is_refused_before_it_answers(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match=r"labels are \['bad', 'good'\], the teacher's \['good', 'bad'\]"):
        goal({"logits": 1.0}, model, forbid_forward_passes(tiny_bert(labels=("good", "bad"))), toy)
    teacher = forbid_forward_passes(tiny_bert())
    teacher.tokenizer = tiny_tokenizer(tuple(sorted(model.tokenizer.get_vocab())))
    with pytest.raises(InputError, match="different vocabularies"):
        goal({"hidden": 1.0}, model, teacher, toy)


# -- states


def test_a_teacher_s_states_are_kept_where_a_folder_is_given_and_there_is_room(
    model: PreTrainedModel, toy: Task, tmp_path: Path
) -> None:
    run = StepContext(device="cpu", answers=tmp_path)
    made = goal({"hidden": 1.0}, model, tiny_bert(seed=8), toy, run, teacher_cache_bytes=10**9)
    assert isinstance(made.teacher, KnownAnswers)
    assert set(made.teacher.states) == {("hidden", 1), ("hidden", 2)}
    made = goal({"hidden": 1.0}, model, tiny_bert(seed=8), toy, run, teacher_cache_bytes=1000)
    assert isinstance(made.teacher, LiveAnswers)


def test_other_heads_are_refused_where_head_is_compared_with_head(model: PreTrainedModel, toy: Task) -> None:
    student = forbid_forward_passes(tiny_bert(num_attention_heads=2))
    for name in ("attention", "attention_scores", "value_relations"):
        with pytest.raises(InputError, match=rf"'{name}', which compares head with head, but the student has 2 heads in"):
            goal({name: 1.0}, student, forbid_forward_passes(model), toy)
    assert goal({"relations": 1.0}, student, model, toy).states == {(kind, 2) for kind in ("query", "key", "value")}


def test_relation_heads_must_divide_both_widths(model: PreTrainedModel, toy: Task) -> None:
    student = forbid_forward_passes(tiny_bert(hidden_size=12))
    with pytest.raises(InputError, match=r"teach\.relation_heads is 8, which does not divide the width 12 of the student's"):
        goal({"relations": 1.0}, student, forbid_forward_passes(model), toy, relation_heads=8)


@pytest.mark.parametrize("layers", [[1, 9], [3]])
def test_a_map_beyond_the_teacher_is_refused(model: PreTrainedModel, toy: Task, layers: list[int]) -> None:
    with pytest.raises(InputError, match=r"teach\.layers"):
        goal({"hidden": 1.0}, forbid_forward_passes(tiny_bert()), forbid_forward_passes(model), toy, layers=layers)


def test_one_layer_leaves_nothing_to_compare_below_the_last(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match="'first_token', which finds no layer to compare: the student has 1 layers"):
        goal({"first_token": 1.0}, forbid_forward_passes(tiny_bert(layers=1)), model, toy)


def test_a_teacher_of_other_tokens_may_teach_its_logits(model: PreTrainedModel, toy: Task) -> None:
    """It reads the same sentences in its own pieces."""
    teacher = tiny_bert(seed=8)
    known = goal({"logits": 1.0}, model, teacher, toy).teacher
    model.tokenizer = tiny_tokenizer(tuple(sorted(teacher.tokenizer.get_vocab())))
    again = goal({"logits": 1.0}, model, teacher, toy).teacher
    assert isinstance(known, KnownAnswers)
    assert isinstance(again, KnownAnswers)
    np.testing.assert_array_equal(known.logits, again.logits)


@pytest.mark.parametrize(
    ("objectives", "teaches"),
    [
        ({"hidden": 1.0, "attention": 1.0}, False),
        ({"hidden": 1.0, "labels": 1.0}, True),
    ],
)
def test_the_selection_metric_counts_where_the_logits_are_taught(
    model: PreTrainedModel, toy: Task, objectives: dict[str, float], teaches: bool
) -> None:
    assert goal(objectives, model, tiny_bert(seed=8), toy).teaches_logits is teaches


def test_a_projection_begins_with_the_best_linear_map(toy: Task) -> None:
    """A teacher whose states are a linear map of the student's is met at once."""
    student = tiny_bert(layers=1, hidden_size=8)
    teacher = tiny_bert(layers=1, hidden_size=16)
    projection = fitted_projection(student, teacher, toy, ((0, 0), (1, 1)), "hidden", StepContext(device="cpu"))
    encoded = toy.encode(toy.train, student.tokenizer)
    inputs = on_device(encoded.batch(range(len(encoded))), "cpu")
    mask = inputs["attention_mask"].bool()
    rows = []
    for model in (student, teacher):
        _, states = answered(model, inputs, [("hidden", 0), ("hidden", 1)])
        rows.append(torch.cat([states["hidden", layer][mask] for layer in (0, 1)]).double().numpy())
    given = np.concatenate([rows[0], np.ones((len(rows[0]), 1))], axis=1)
    best = given @ np.linalg.lstsq(given, rows[1], rcond=None)[0]
    with torch.no_grad():
        projected = projection(torch.from_numpy(rows[0]).float()).double().numpy()
    least, own = (((output - rows[1]) ** 2).mean() for output in (best, projected))
    assert least <= own < least * 1.01 + 1e-6
    assert own < 0.9 * rows[1].var(0).mean()
