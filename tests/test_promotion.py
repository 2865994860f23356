"""The look at every export in these tests finds what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compress.targets.onnx.graph import write_module

pytestmark = [pytest.mark.slow, pytest.mark.floors]


class Weighted(nn.Module):
    """Values and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, 2.0, -1.0]))


class Mixed(Weighted):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.weight * 1 + (2 - self.weight) + self.weight * torch.arange(3) + self.weight.clamp(min=0)


class Alike(Weighted):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 + self.weight * 1.0 + (2.0 - self.weight) + self.weight.exp() * 2


def write(module: nn.Module, folder: Path) -> None:
    values = torch.ones((2, 3))
    write_module(module.eval(), (values,), folder / "model.onnx", inputs=["values"], outputs=["sums"], free=(None,))


def test_weights_beside_numbers_of_another_type_are_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"cannot export aten\.mul.*aten\.sub.*aten\.mul.*aten\.clamp"):
        write(Mixed(), tmp_path)


def test_weights_beside_numbers_of_their_own_type_are_exported(tmp_path: Path) -> None:
    write(Alike(), tmp_path)
    assert (tmp_path / "model.onnx").is_file()
