"""Values of a batch as a row for each group."""

from __future__ import annotations

import torch

from compress.tasks.by_group import by_group


def test_values_stand_in_rows_in_their_order_and_padding_is_told() -> None:
    values = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    padded, mask = by_group(values, torch.tensor([8, 3, 8, 8]))
    assert padded.tolist() == [[[2.0], [0.0], [0.0]], [[1.0], [3.0], [4.0]]]
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_gradients_reach_each_value() -> None:
    values = torch.arange(3.0, requires_grad=True)
    padded, _ = by_group(values, torch.tensor([0, 1, 1]))
    (gradient,) = torch.autograd.grad((padded * torch.tensor([[1.0, 9.0], [2.0, 3.0]])).sum(), values)
    assert gradient.tolist() == [1.0, 2.0, 3.0]
