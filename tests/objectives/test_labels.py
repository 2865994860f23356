"""Cross-entropy with the data's labels."""

from __future__ import annotations

import math

import pytest
import torch

from compress.objectives.labels import labels
from compress.objectives.outputs import Batch, Outputs


def batch(*ids: int) -> Batch:
    return Batch(torch.tensor(ids), torch.ones(len(ids), 3, dtype=torch.long))


def test_the_value_is_minus_the_logarithm_of_the_label_s_probability() -> None:
    student = Outputs(torch.tensor([[math.log(3.0), 0.0]]))  # softmax gives 3/4 and 1/4
    assert labels(student, None, batch(0)).item() == pytest.approx(math.log(4 / 3))
    assert labels(student, None, batch(1)).item() == pytest.approx(math.log(4))


def test_the_value_is_the_mean_over_the_examples() -> None:
    student = Outputs(torch.tensor([[math.log(3.0), 0.0]]).repeat(4, 1))
    expected = (3 * math.log(4 / 3) + math.log(4)) / 4
    assert labels(student, None, batch(0, 0, 1, 0)).item() == pytest.approx(expected)


def test_half_precision_logits_are_judged_in_float32() -> None:
    loss = labels(Outputs(torch.zeros(1, 3, dtype=torch.bfloat16)), None, batch(2))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(3))
