"""Learn the mean and the variance of the teacher's hidden states."""

from __future__ import annotations

import torch
from torch import nn

from compress.objectives.hidden import compared
from compress.objectives.layer_map import each_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = each_layer
PROJECTS = True
OF_MEANS = 1000.0  # MobileBERT weighs means with 5000 and variances with 5


def feature_statistics(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """1000 times the squared difference of means plus the absolute difference of variances, of each token's hidden state.

    Mean over tokens that are no padding, then over the layers. MobileBERT's weight is 5.

    Source: Sun et al. 2020, MobileBERT, arXiv 2004.02984, section 3.5 (feature map transfer, mean and variance).
    Differs: each layer learns from its own of the teacher; the published code compares with all of them at once.

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
        means = (student_states.mean(-1) - teacher_states.mean(-1)).square()
        variances = (student_states.var(-1, correction=0) - teacher_states.var(-1, correction=0)).abs()
        errors.append(batch.token_mean(OF_MEANS * means + variances))
    return mean_over(errors, batch)
