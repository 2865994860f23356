"""Distance between normalised [CLS] vectors."""

from __future__ import annotations

import numpy as np
import torch

from compress.objectives.first_token import first_token
from compress.objectives.outputs import Outputs
from tests.objectives.rows import batch, close, outputs


def test_the_value_worked_out_by_hand() -> None:
    """(3, 4) and (0, 2) become (0.6, 0.8) and (0, 1): 0.36 + 0.04."""
    student, teacher = (Outputs(torch.zeros(1, 2), {("first", 1): torch.tensor([[row]])}) for row in ([3.0, 4.0], [0.0, 2.0]))
    assert first_token(student, teacher, batch(), pairs=((1, 1),)).item() == close(0.4)


def test_the_mean_runs_over_examples_and_layers_and_the_sum_over_the_width() -> None:
    student, teacher = outputs(1, ("first", 1), ("first", 2)), outputs(2, ("first", 2), ("first", 4))
    errors = []
    for own, wanted in ((1, 2), (2, 4)):
        said, target = student.states["first", own].numpy(), teacher.states["first", wanted].numpy()
        said, target = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (said, target))
        errors.append(((said - target) ** 2).sum(-1).mean())
    assert first_token(student, teacher, batch(), pairs=((1, 2), (2, 4))).item() == close(np.mean(errors))
