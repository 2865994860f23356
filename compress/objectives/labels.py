"""Learn from the data's own labels."""

from __future__ import annotations

import torch
from torch.nn import functional

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset()


def labels(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    """Cross-entropy between the student's logits and the labels, mean over the examples.

    Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 4.1.

    Args:
        student: Its logits are read.
        teacher: Not read.
        batch: Its labels are read.
    """
    return functional.cross_entropy(student.logits.float(), batch.labels)
