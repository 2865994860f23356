"""Learn the teacher's hidden states as LayerNorm would see them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compress.objectives.hidden import compared
from compress.objectives.layer_map import each_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = each_layer
PROJECTS = True


def feature_map(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """Mean squared error between normalised hidden states, each token's with mean 0 and variance 1, padding left out.

    Mean over tokens that are no padding and over the width, then over the layers. MobileBERT's weight is 100.

    Source: Sun et al. 2020, MobileBERT, arXiv 2004.02984, section 3.5 (feature map transfer, normalised difference).

    Args:
        student: Its hidden states are read.
        teacher: Its hidden states are read.
        batch: Its attention mask is read.
        pairs: Which layer of the student learns from which of the teacher.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    assert teacher is not None
    errors = []
    for student_states, teacher_states in compared(student, teacher, batch, pairs, projection):
        normalised = [functional.layer_norm(states, states.shape[-1:]) for states in (student_states, teacher_states)]
        errors.append(batch.token_mean((normalised[0] - normalised[1]).square().mean(-1)))
    return mean_over(errors, batch)
