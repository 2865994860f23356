"""Squared error between normalised hidden states."""

from __future__ import annotations

import numpy as np
import torch

from compress.objectives.feature_map import feature_map
from compress.objectives.outputs import Outputs
from tests.objectives.rows import batch, close, outputs, token_mean


def test_each_token_is_normalised_before_it_is_compared() -> None:
    student, teacher = outputs(1, ("hidden", 1)), outputs(2, ("hidden", 1))

    def normalised(rows: np.ndarray) -> np.ndarray:
        return (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return ((normalised(own) - normalised(wanted)) ** 2).mean(-1)

    loss = feature_map(student, teacher, batch(), pairs=((1, 1),)).item()
    assert loss == close(token_mean(error, student, teacher, ("hidden", 1), ("hidden", 1)))


def test_scale_and_shift_do_not_count() -> None:
    teacher = outputs(2, ("hidden", 1))
    student = Outputs(teacher.logits, {("hidden", 1): teacher.states["hidden", 1] * 7 + 3})
    assert feature_map(student, teacher, batch(), pairs=((1, 1),)).item() < 1e-4
    assert torch.equal(student.logits, teacher.logits)
