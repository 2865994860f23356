"""Learn from the data's own labels."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs
from compress.tasks.emphasis import EVEN, Emphasis

NEEDS: frozenset[str] = frozenset()
READS_LABELS = True
NESTS = True


def labels(student: Outputs, teacher: Outputs | None, batch: Batch, *, emphasis: Emphasis = EVEN) -> torch.Tensor:
    """The loss of the task's kind between the student's logits and the labels, mean over what is labelled.

    Of text classification the cross-entropy; with class weights or a gamma, weighted and focal.

    Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 4.1; focal: Lin et al. 2017, arXiv 1708.02002, equation 5.

    Args:
        student: Its logits are read.
        teacher: Not read.
        batch: Its labels are read.
        emphasis: Which labels and answers count more.
    """
    if emphasis == EVEN:
        return batch.rules.loss(student.logits, batch.labels)
    return batch.rules.loss(student.logits, batch.labels, emphasis=emphasis)
