"""Squared error between scores before the softmax."""

from __future__ import annotations

import numpy as np
import torch

from compress.objectives.attention_scores import attention_scores
from compress.objectives.outputs import Batch, Outputs
from tests.objectives.rows import batch, close, outputs, unpadded


def test_the_value_worked_out_by_hand() -> None:
    """One head, two tokens of three: differences 1, 2, 3 and 4 count, those of padding do not."""
    scores = torch.tensor([[[[1.0, 2.0, 90.0], [3.0, 4.0, 90.0], [90.0, 90.0, 90.0]]]])
    student, teacher = (Outputs(torch.zeros(1, 2), {("scores", 1): values}) for values in (torch.zeros(1, 1, 3, 3), scores))
    only_two = Batch(torch.zeros(1), torch.tensor([[1, 1, 0]]))
    assert attention_scores(student, teacher, only_two, pairs=((1, 1),)).item() == close((1 + 4 + 9 + 16) / 4)


def test_the_mean_runs_over_heads_and_pairs_of_tokens_and_then_over_layers() -> None:
    student, teacher = outputs(1, ("scores", 1), ("scores", 2)), outputs(2, ("scores", 3), ("scores", 6))
    errors = []
    for own, wanted in ((1, 3), (2, 6)):
        both = zip(unpadded(student, ("scores", own)), unpadded(teacher, ("scores", wanted)), strict=True)
        errors.append(np.concatenate([((said - target) ** 2).reshape(-1) for said, target in both]).mean())
    assert attention_scores(student, teacher, batch(), pairs=((1, 3), (2, 6))).item() == close(np.mean(errors))
