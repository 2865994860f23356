"""Beginnings of vectors are taught as vectors of their own."""

from __future__ import annotations

import torch

from compress.objectives.nested import nested
from compress.objectives.outputs import Outputs
from tests.objectives.rows import batch, close


def test_the_mean_runs_over_the_whole_and_its_beginnings() -> None:
    seen = []

    def term(student: Outputs, teacher: Outputs | None, _: object) -> torch.Tensor:
        assert teacher is not None
        assert teacher.logits.shape == (2, 5)
        seen.append(student.logits.shape[1])
        return student.logits.sum()

    student, teacher = Outputs(torch.ones(2, 4)), Outputs(torch.ones(2, 5))
    assert nested(student, teacher, batch(), term=term, dimensions=(1, 3)).item() == close((8 + 2 + 6) / 3)
    assert seen == [4, 1, 3]
