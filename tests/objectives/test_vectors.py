"""Squared distance between vectors."""

from __future__ import annotations

import torch
from torch import nn

from compress.objectives.outputs import Outputs
from compress.objectives.vectors import vectors
from tests.objectives.rows import batch, close


def test_the_sum_runs_over_dimensions_and_the_mean_over_texts() -> None:
    """Distances 1 + 4 and 9 + 0."""
    student, teacher = Outputs(torch.zeros(2, 2)), Outputs(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    assert vectors(student, teacher, batch()).item() == close(7.0)


def test_of_a_length_of_one_it_is_two_minus_twice_the_cosine() -> None:
    random = torch.Generator().manual_seed(4)
    own, wanted = (nn.functional.normalize(torch.randn(5, 3, generator=random), dim=-1) for _ in range(2))
    expected = (2 - 2 * (own * wanted).sum(-1)).mean().item()
    assert vectors(Outputs(own), Outputs(wanted), batch()).item() == close(expected)


def test_a_projection_brings_the_student_to_the_teachers_dimensions() -> None:
    projection = nn.Linear(1, 2, bias=False)
    projection.weight.data = torch.tensor([[1.0], [3.0]])
    student, teacher = Outputs(torch.tensor([[2.0]])), Outputs(torch.tensor([[1.0, 4.0]]))
    assert vectors(student, teacher, batch(), projection=projection).item() == close(1.0 + 4.0)
