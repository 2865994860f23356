"""Learn the teacher's hidden states."""

from __future__ import annotations

import torch

from compress.errors import InputError
from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})


def hidden(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    """Mean squared error between hidden states of student and teacher, padding left out.

    Layer j of M student layers learns from layer round(j * N / M) of N teacher layers, the embeddings' output (j = 0) from the
    embeddings' output. Mean over tokens that are no padding and over the width, then over the layers.

    Source: Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equations 7 and 8, with the identity for W_h.
    Differs: equal widths are needed; the mean runs over layers where TinyBERT sums.

    Args:
        student: Its hidden states are read.
        teacher: Its hidden states are read.
        batch: Its attention mask is read.

    Raises:
        InputError: Student and teacher differ in width.
    """
    assert teacher is not None
    widths = student.hidden[0].shape[-1], teacher.hidden[0].shape[-1]
    if widths[0] != widths[1]:
        raise InputError(
            f"objective hidden compares states of width {widths[0]} (student) with {widths[1]} (teacher); they must be "
            "equal. Use a student cut from the teacher, or drop the objective."
        )
    student_layers, teacher_layers = len(student.hidden) - 1, len(teacher.hidden) - 1
    mask = batch.attention_mask.unsqueeze(-1)  # (batch, length, 1)
    count = mask.sum() * widths[0]
    errors = []
    for index, state in enumerate(student.hidden):
        target = teacher.hidden[round(index * teacher_layers / max(1, student_layers))]
        errors.append(((state.float() - target.float()).square() * mask).sum() / count)
    return torch.stack(errors).mean()
