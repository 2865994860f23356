"""Learn from the teacher's softened answers."""

from __future__ import annotations

import torch
from torch.nn import functional

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})


def logits(student: Outputs, teacher: Outputs | None, batch: Batch, *, temperature: float = 2.0) -> torch.Tensor:
    """T² times the Kullback-Leibler divergence of the student's answers from the teacher's, both at temperature T.

    Mean over the examples (sum over the labels); the factor T² keeps the size of the gradient when T changes.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2.

    Args:
        student: Its logits are read.
        teacher: Its logits are read.
        batch: Not read.
        temperature: T; higher shows more of what the teacher thinks of the wrong labels.
    """
    assert teacher is not None
    student_log = functional.log_softmax(student.logits.float() / temperature, dim=-1)
    teacher_log = functional.log_softmax(teacher.logits.float() / temperature, dim=-1)
    return functional.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True) * temperature**2
