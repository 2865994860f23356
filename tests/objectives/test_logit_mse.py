"""Squared distance between logits."""

from __future__ import annotations

import torch

from compress.objectives.logit_mse import logit_mse
from compress.objectives.outputs import Outputs
from tests.objectives.rows import batch, close


def test_the_sum_runs_over_labels_and_the_mean_over_examples() -> None:
    """Distances 1 + 4 and 9 + 0."""
    student, teacher = Outputs(torch.zeros(2, 2)), Outputs(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    assert logit_mse(student, teacher, batch()).item() == close(7.0)
