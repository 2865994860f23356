"""Masks over the weights of an encoder's Linears, with scores to learn them by; at the end they are burnt in as zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from compress.errors import raise_together
from compress.models.families import family_of_layer
from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.models.surgery import copy_of

UnitShape = Literal["weight", "block", "head_row"]
SCORES = ".scores"
"""How the names of learned scores end."""


class Mask(nn.Module):
    """Which units of one weight, or of several that share them, are kept: 1 or 0 for each.

    Args:
        rows: Of units.
        columns: Of units.
        kind: What a unit is; units of one kind are of one size.
        learned: Whether units have scores to learn; gradients of the mask reach them as they are (straight through).
    """

    kept: torch.Tensor

    def __init__(self, rows: int, columns: int, kind: str, *, learned: bool) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("kept", torch.ones(rows, columns))
        self.scores = nn.Parameter(torch.zeros(rows, columns)) if learned else None

    def forward(self) -> torch.Tensor:
        """The units, (rows, columns)."""
        return self.kept if self.scores is None else self.kept + (self.scores - self.scores.detach())


class Masked(nn.Module):
    """A parametrization: the weight, zero where its units are not kept.

    Args:
        mask: Its units cover the weight in equal blocks, or whole rows where it has one column.
        transposed: Whether its rows are the weight's columns.
    """

    def __init__(self, mask: Mask, *, transposed: bool = False) -> None:
        super().__init__()
        self.mask, self.transposed = mask, transposed

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The masked weight, of the same shape."""
        units = self.mask().T if self.transposed else self.mask()
        for dimension in (0, 1):
            times = weight.shape[dimension] // units.shape[dimension]
            if units.shape[dimension] > 1 and times > 1:
                units = units.repeat_interleave(times, dimension)
        return weight * units

    def squares(self, weight: torch.Tensor) -> torch.Tensor:
        """The sum of the squares of each unit's part of the weight, of the mask's shape."""
        rows, columns = self.mask.kept.T.shape if self.transposed else self.mask.kept.shape
        blocks = weight.square().view(rows, weight.shape[0] // rows, columns, weight.shape[1] // columns).sum((1, 3))
        return blocks.T if self.transposed else blocks


def with_masks(
    model: PreTrainedModel, *, shape: UnitShape, block: Sequence[int] = (1, 1), learned: bool = False
) -> PreTrainedModel:
    """Copy the model with masks, all open, over the Linears of its encoder.

    Args:
        model: Stays as it is.
        shape: What a unit is: one weight; a block of them; or a head, which query, key, value and output share, and a neuron,
            which the two Linears of the (last) feed-forward part share.
        block: Rows and columns of a block.
        learned: Whether there are scores.

    Raises:
        InputError: Blocks do not divide a Linear.
    """
    student = copy_of(model)
    names = {module: name for name, module in student.named_modules()}
    layers = distinct_layers(student)
    if shape == "head_row":
        for layer in layers:
            family = family_of_layer(layer)
            _share(layer, head_count(layer), "head", family.projections, family.context, learned=learned)
            _share(layer, neuron_count(layer), "neuron", family.neurons, family.feed_forward[1], learned=learned)
        return student
    rows, columns = block if shape == "block" else (1, 1)
    linears = [
        module for layer in layers for module in layer.modules() if isinstance(module, nn.Linear) and module.weight.numel()
    ]
    raise_together(
        [
            f"block {rows} x {columns} does not divide {names[linear]}, which is {linear.out_features} x "
            f"{linear.in_features}; use one that does."
            for linear in linears
            if linear.out_features % rows or linear.in_features % columns
        ]
    )
    for linear in linears:
        mask = Mask(linear.out_features // rows, linear.in_features // columns, shape, learned=learned)
        parametrize.register_parametrization(linear, "weight", Masked(mask))
    return student


def _share(layer: Any, count: int, kind: str, readers: Sequence[str], writer: str, *, learned: bool) -> None:
    if not count:
        return
    mask = Mask(count, 1, kind, learned=learned)
    for name in (*readers, writer):
        masked = Masked(mask, transposed=name == writer)
        parametrize.register_parametrization(layer.get_submodule(name), "weight", masked)


def masked_linears(model: nn.Module) -> dict[Mask, list[tuple[Any, Masked]]]:
    """Each mask with the Linears that it covers, in the order of the modules."""
    linears: dict[Mask, list[tuple[Any, Masked]]] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            linear: Any = module
            masked = linear.parametrizations.weight[0]
            linears.setdefault(masked.mask, []).append((linear, masked))
    return linears


@torch.no_grad()
def burn_in(model: PreTrainedModel) -> None:
    """Let the zeros of the masks be zeros of the weights, in place; the Linears are plain ones again."""
    for linears in masked_linears(model).values():
        for linear, _ in linears:
            parametrize.remove_parametrizations(linear, "weight")
            linear.weight.masked_fill_(linear.weight == 0, 0.0)  # no zero has a sign, which would have to be stored
