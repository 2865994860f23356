"""Learn the teacher's logits as they are."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})


def logit_mse(student: Outputs, teacher: Outputs | None, batch: Batch, *, tokens: str = "all") -> torch.Tensor:
    """Squared distance between the logits of student and teacher, without a softmax.

    Mean over the examples, or the tokens where those have answers; sum over the labels.

    Source: Ba and Caruana 2014, arXiv 1312.6184, equation 2; for BERT, Tang et al. 2019, arXiv 1903.12136, section 3.2.

    Args:
        student: Its logits are read.
        teacher: Its logits are read.
        batch: Tells the task's kind, and what is padding.
        tokens: As in `logits`.
    """
    assert teacher is not None
    own, wanted = batch.grouped(student.logits), batch.grouped(teacher.logits)
    return batch.rules.distance(own, wanted, batch.compared(tokens))
