"""Cosines between the texts of a batch."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Outputs
from compress.objectives.similarities import similarities
from tests.objectives.rows import batch, close


def test_pairs_of_two_texts_count_each_with_the_square_of_its_difference() -> None:
    """Cosines 0, 1 and 0 of the student; 1, 0 and 0 of the teacher: two of three pairs are off by 1."""
    student = Outputs(torch.tensor([[1.0, 0.0], [0.0, 5.0], [2.0, 0.0]]))
    teacher = Outputs(torch.tensor([[1.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert similarities(student, teacher, batch()).item() == close(2 / 3)


def test_a_turned_space_of_any_width_is_the_same() -> None:
    own = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    turned = torch.cat([own.flip(1), torch.zeros(6, 3)], 1) * 7
    assert similarities(Outputs(own), Outputs(turned), batch()).item() == close(0.0)


def test_a_single_text_has_no_pair() -> None:
    assert similarities(Outputs(torch.ones(1, 2)), Outputs(torch.ones(1, 2)), batch()).item() == 0.0
