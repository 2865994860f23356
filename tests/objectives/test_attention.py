"""Kullback-Leibler divergence between attention distributions."""

from __future__ import annotations

import math

import numpy as np
import torch

from compress.objectives.attention import attention
from compress.objectives.outputs import Batch, Outputs
from tests.objectives.rows import batch, close, divergence, outputs, unpadded


def test_the_value_worked_out_by_hand() -> None:
    """Each token looks at two: the teacher as 3 to 1, the student evenly."""
    scores = torch.tensor([math.log(3.0), 0.0, 50.0]).expand(1, 1, 3, 3)
    student, teacher = (Outputs(torch.zeros(1, 2), {("scores", 1): values}) for values in (torch.zeros(1, 1, 3, 3), scores))
    only_two = Batch(torch.zeros(1), torch.tensor([[1, 1, 0]]))
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert attention(student, teacher, only_two, pairs=((1, 1),)).item() == close(expected)


def test_rows_of_padding_do_not_count_and_layers_are_averaged() -> None:
    student, teacher = outputs(1, ("scores", 1), ("scores", 2)), outputs(2, ("scores", 2), ("scores", 4))
    expected = [
        divergence(unpadded(teacher, ("scores", wanted)), unpadded(student, ("scores", said)))
        for said, wanted in ((1, 2), (2, 4))
    ]
    assert attention(student, teacher, batch(), pairs=((1, 2), (2, 4))).item() == close(np.mean(expected))
    assert attention(teacher, teacher, batch(), pairs=((2, 2), (4, 4))).item() == close(0.0)
