"""Teach layers of the teacher's to those layers of a student that are nearest to them, while the student loses parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from compress.objectives.hidden import projected
from compress.objectives.outputs import Batch, Outputs
from compress.pruning.structure_masks import StructureMasks


def nearest_layers(errors: torch.Tensor, alive: Sequence[bool]) -> list[int]:
    """The layer of the student that each layer of the teacher is compared with, both counted from 0.

    From the top down, each layer of the teacher gets the student's nearest one among those that are alive and below the one
    before; where none is, the one before again; where none is alive at all, the student's last.

    Args:
        errors: How far they are apart, (teacher's layers, student's layers).
        alive: Of the student's layers.
    """
    last, matches = len(alive), []
    for row in reversed(errors.tolist()):
        allowed = [index for index in range(last) if alive[index]]
        last = min(allowed, key=lambda index: row[index]) if allowed else min(last, len(alive) - 1)
        matches.append(last)
    return matches[::-1]


def matched_layers(
    masks: StructureMasks,
    projection: nn.Module,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    layers: Sequence[int],
    uses: Sequence[int],
) -> torch.Tensor:
    """The sum over layers of the teacher's of the mean squared error to the nearest layer of the student whose feed-forward
    part the latest gates leave in place; mean over tokens that are no padding and over the width.

    Source: Xia et al. 2022, CoFi, arXiv 2204.00408, section 3.2.

    Args:
        masks: Their latest gates tell which layers are alive.
        projection: From the student's width to the teacher's.
        student: Every hidden state is read.
        teacher: Hidden states of `layers` are read.
        batch: Its attention mask is read.
        layers: The teacher's, counted from 1, rising.
        uses: For each layer that the student runs, the number of its gates.
    """
    assert teacher is not None
    assert masks.latest is not None
    targets = [teacher.states["hidden", layer].float() for layer in layers]
    said = [student.states["hidden", number + 1] for number in range(len(uses))]

    def error(own: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return batch.token_mean((own - wanted).square().mean(-1))

    with torch.no_grad():
        near = [projected(states, projection) for states in said]
        errors = torch.stack([torch.stack([error(own, wanted) for own in near]) for wanted in targets])
        alive = [bool(masks.latest.neurons[use].any()) for use in uses]
    pairs = zip(nearest_layers(errors, alive), targets, strict=True)
    return torch.stack([error(projected(said[own], projection), wanted) for own, wanted in pairs]).sum()
