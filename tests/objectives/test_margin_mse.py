"""Margins between the passages of a query."""

from __future__ import annotations

import math

import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.objectives.logit_mse import logit_mse
from compress.objectives.logits import logits
from compress.objectives.margin_mse import margin_mse
from compress.objectives.outputs import Batch, Outputs
from compress.tasks.kind import load_kind
from compress.training.step_context import StepContext
from tests.objectives.rows import close
from tests.tiny_models import tiny_bert, toy_task

GROUPS = torch.tensor([7, 7, 7, 9, 9])
RELEVANCES = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0])


def batch(relevances: torch.Tensor = RELEVANCES, groups: torch.Tensor = GROUPS) -> Batch:
    labels = torch.stack([relevances, torch.full_like(relevances, torch.nan), groups.float()], 1)
    return Batch(labels, torch.ones(len(groups), 3), rules=load_kind("reranking"), groups=groups)


def outputs(*scores: float) -> Outputs:
    return Outputs(torch.tensor(scores)[:, None])


def test_the_mean_runs_over_the_pairs_of_a_query_and_then_over_the_queries() -> None:
    """Margins are 1 and 2 against 3 and 1, and 4 against 1: (4 + 1) / 2 and 9."""
    student, teacher = outputs(3, 2, 1, 0, 4), outputs(3, 0, 2, 5, 6)
    assert margin_mse(student, teacher, batch()).item() == close((2.5 + 9) / 2)


def test_what_is_added_to_all_passages_of_a_query_does_not_count() -> None:
    student = outputs(3, 2, 1, 0, 4)
    shifted = Outputs(student.logits + torch.tensor([5.0, 5.0, 5.0, -2.0, -2.0])[:, None])
    assert margin_mse(student, shifted, batch()).item() == close(0.0)


def test_pairs_of_unlike_grades_count_and_queries_without_any_do_not() -> None:
    """Grades 2 > 1 > 0 make three pairs: margins of the student 0, of the teacher 1, 2 and 1."""
    graded = batch(torch.tensor([2.0, 1.0, 0.0, 1.0, 1.0]))
    assert margin_mse(outputs(0, 0, 0, 0, 9), outputs(2, 1, 0, 0, 0), graded).item() == close((1 + 4 + 1) / 3)
    nothing = margin_mse(outputs(0, 0, 0, 0, 9), outputs(2, 1, 0, 0, 0), batch(torch.zeros(5)))
    assert nothing.item() == 0.0


def test_the_order_of_a_batch_does_not_matter() -> None:
    turned = torch.tensor([3, 0, 4, 2, 1])
    student, teacher = outputs(3, 2, 1, 0, 4), outputs(3, 0, 2, 5, 6)
    again = margin_mse(
        Outputs(student.logits[turned]), Outputs(teacher.logits[turned]), batch(RELEVANCES[turned], GROUPS[turned])
    )
    assert again.item() == close(margin_mse(student, teacher, batch()).item())


def test_logits_compare_lists_of_a_query_and_logit_mse_each_score() -> None:
    """At T = 2 the first query's teacher says 1/2, 1/4, 1/4 and its student a third each; the second query's two agree."""
    teacher, student = outputs(2 * math.log(2), 0, 0, 5, 5), outputs(1, 1, 1, 0, 0)
    first = 0.5 * math.log(1.5) + 0.5 * math.log(0.75)
    assert logits(student, teacher, batch(), temperature=2.0).item() == close(4 * first / 2)
    squares = [(2 * math.log(2) - 1) ** 2, 1, 1, 25, 25]
    assert logit_mse(student, teacher, batch()).item() == close(sum(squares) / 5)


@pytest.mark.parametrize("rehearsal", [True, False])
def test_a_task_whose_examples_stand_for_themselves_is_refused(rehearsal: bool) -> None:
    run = StepContext(device="cpu", rehearsal=rehearsal)
    with pytest.raises(InputError, match=r"'margin_mse', which compares the passages of a query, but in text-classification"):
        cp.distill(tiny_bert(), teacher=tiny_bert(), task=toy_task(), objectives={"margin_mse": 1.0}, run=run)


def test_texts_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"names 'margin_mse', which reads labels, but distill.text has none"):
        cp.distill(tiny_bert(), teacher=tiny_bert(), task=toy_task(), objectives={"margin_mse": 1.0}, text="pairs.tsv")
