"""Learn from the teacher's softened answers."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})


def logits(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, temperature: float = 2.0, tokens: str = "all"
) -> torch.Tensor:
    """T² times the Kullback-Leibler divergence of the student's answers from the teacher's, both at temperature T.

    Mean over the examples, or the tokens where those have answers (sum over the labels); the factor T² keeps the size of the
    gradient when T changes. Where an answer is no distribution over labels, the task's kind says what stands for the
    divergence.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2.

    Args:
        student: Its logits are read.
        teacher: Its logits are read.
        batch: Tells the task's kind, and what is padding.
        temperature: T; higher shows more of what the teacher thinks of the wrong labels.
        tokens: Where each token has outputs, whose are compared: of "all", or of those that are "answering".
    """
    assert teacher is not None
    own, wanted = batch.grouped(student.logits), batch.grouped(teacher.logits)
    return batch.rules.divergence(own, wanted, batch.compared(tokens), temperature) * temperature**2
