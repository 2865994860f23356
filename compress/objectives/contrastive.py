"""Learn which texts belong together, and that the others of a batch do not."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs
from compress.tasks import vector_losses

NEEDS: frozenset[str] = frozenset()
READS_LABELS = True
OF_VECTORS = True
NESTS = True


def contrastive(student: Outputs, teacher: Outputs | None, batch: Batch, *, scale: float = 20.0) -> torch.Tensor:
    """Cross-entropy of finding each text's pair among the second texts of the batch, by their cosines; mean over the pairs.

    Scores of pairs are not looked at. A larger batch has more that is not relevant.

    Source: Henderson et al. 2017, arXiv 1705.00652, section 4.4 (multiple negatives).

    Args:
        student: Its vectors are read.
        teacher: Not read.
        batch: Tells the pairs.
        scale: Of the cosines.
    """
    first, second, others, _ = vector_losses.parted(student.logits, batch.labels)
    return vector_losses.contrastive(first, second, others, scale)
