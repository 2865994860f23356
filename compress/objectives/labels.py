"""Learn from the data's own labels."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset()
READS_LABELS = True
NESTS = True


def labels(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    """The loss of the task's kind between the student's logits and the labels, mean over what is labelled.

    Of text classification the cross-entropy.

    Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 4.1.

    Args:
        student: Its logits are read.
        teacher: Not read.
        batch: Its labels are read.
    """
    return batch.rules.loss(student.logits, batch.labels)
