"""Kullback-Leibler divergence from the teacher at a temperature."""

from __future__ import annotations

import math

import pytest
import torch

from compress.objectives.logits import logits
from compress.objectives.outputs import Batch, Outputs

ANY = Batch(torch.zeros(1, dtype=torch.long), torch.ones(1, 1, dtype=torch.long))


def divergence(teacher: list[float], student: list[float], temperature: float) -> float:
    """The sum over p log(p/q), in plain Python."""
    exponentials = [[math.exp(value / temperature) for value in values] for values in (teacher, student)]
    p, q = ([value / sum(values) for value in values] for values in exponentials)
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_the_value_worked_out_by_hand() -> None:
    """At T = 1: p = (3/4, 1/4), q = (1/2, 1/2), so 3/4 log(3/2) + 1/4 log(1/2)."""
    teacher, student = Outputs(torch.tensor([[math.log(3.0), 0.0]])), Outputs(torch.zeros(1, 2))
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert logits(student, teacher, ANY, temperature=1.0).item() == pytest.approx(expected)


def test_the_divergence_is_the_student_s_from_the_teacher_and_not_the_other_way_round() -> None:
    teacher, student = [2.0, 0.0, -1.0], [0.5, 1.0, 0.0]
    loss = logits(Outputs(torch.tensor([student])), Outputs(torch.tensor([teacher])), ANY, temperature=1.0).item()
    assert loss == pytest.approx(divergence(teacher, student, 1.0))
    assert abs(divergence(teacher, student, 1.0) - divergence(student, teacher, 1.0)) > 0.05


@pytest.mark.parametrize("temperature", [0.5, 2.0, 5.0])
def test_the_divergence_at_t_is_scaled_by_t_squared(temperature: float) -> None:
    teacher, student = [2.0, 0.0, -1.0], [0.5, 1.0, 0.0]
    loss = logits(Outputs(torch.tensor([student])), Outputs(torch.tensor([teacher])), ANY, temperature=temperature).item()
    assert loss == pytest.approx(temperature**2 * divergence(teacher, student, temperature), rel=1e-5)


def test_the_value_is_the_mean_over_the_examples_and_the_sum_over_the_labels() -> None:
    rows = [([1.0, 0.0, 0.0], [0.0, 2.0, 0.0]), ([0.0, 0.0, 3.0], [0.0, 0.0, 0.0]), ([0.0, 1.0, 0.0], [0.0, 1.0, 0.0])]
    teacher, student = (Outputs(torch.tensor([row[side] for row in rows])) for side in (0, 1))
    expected = sum(divergence(target, said, 1.0) for target, said in rows) / 3
    assert logits(student, teacher, ANY, temperature=1.0).item() == pytest.approx(expected)


def test_equal_answers_cost_nothing_and_a_shift_of_all_logits_changes_nothing() -> None:
    said = torch.tensor([[1.0, -2.0, 0.5]])
    assert logits(Outputs(said + 7), Outputs(said), ANY).item() == pytest.approx(0, abs=1e-6)


def test_only_the_student_gets_a_gradient_and_it_is_t_times_the_difference_of_the_probabilities() -> None:
    student, teacher = torch.tensor([[0.5, 1.0, 0.0]], requires_grad=True), torch.tensor([[2.0, 0.0, -1.0]])
    logits(Outputs(student), Outputs(teacher), ANY, temperature=4.0).backward()
    expected = 4.0 * ((student.detach() / 4).softmax(-1) - (teacher / 4).softmax(-1))
    torch.testing.assert_close(student.grad, expected)
