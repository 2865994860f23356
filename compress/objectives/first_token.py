"""Learn the direction of the teacher's first token on its way (Patient Knowledge Distillation)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compress.objectives.hidden import projected
from compress.objectives.layer_map import all_but_last
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "first"})
PAIRS = all_but_last
PROJECTS = True


def first_token(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """Squared distance between the normalised [CLS] vectors of student and teacher, after every layer but the last.

    Each vector is divided by its norm; sum over the width, mean over the examples, then over the layers.

    Source: Sun et al. 2019, Patient Knowledge Distillation, arXiv 1908.09355, equation 7; `layers: uniform` is PKD-Skip and
    `layers: top` PKD-Last.
    Differs: its code takes the mean over the width too, which is why its weights reach 1000; here the same weight is smaller
    by the width.

    Args:
        student: Its first tokens are read.
        teacher: Its first tokens are read.
        batch: Not read, but for its stage.
        pairs: Which layer of the student learns from which of the teacher.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    assert teacher is not None
    errors = []
    for own, wanted in batch.taught(pairs):
        student_vector = functional.normalize(projected(student.states["first", own], projection), dim=-1)
        teacher_vector = functional.normalize(teacher.states["first", wanted].float(), dim=-1)
        errors.append((student_vector - teacher_vector).square().sum(-1).mean())
    return mean_over(errors, batch)
