"""Learn the direction of the teacher's last hidden states."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compress.objectives.hidden import compared
from compress.objectives.layer_map import last_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = last_layer
PROJECTS = True


def cosine(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """1 minus the cosine between the last layers' outputs of student and teacher; mean over tokens that are no padding.

    Source: Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 2 (L_cos).

    Args:
        student: Its last hidden state is read.
        teacher: Its last hidden state is read.
        batch: Its attention mask is read.
        pairs: The last layers of both.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    assert teacher is not None
    errors = []
    for student_states, teacher_states in compared(student, teacher, batch, pairs, projection):
        errors.append(batch.token_mean(1 - functional.cosine_similarity(student_states, teacher_states, dim=-1)))
    return mean_over(errors, batch)
