"""Learn how alike the texts of a batch are to the teacher."""

from __future__ import annotations

import torch
from torch.nn import functional

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})
OF_VECTORS = True
NESTS = True


def similarities(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    """Squared difference of the cosines of student and teacher between the texts of a batch; mean over pairs of two texts.

    The spaces may be of different widths and turned in any way. A larger batch shows more pairs.

    Source: Tung and Mori 2019, similarity-preserving distillation, arXiv 1907.09682, equation 4.
    Differs: cosines stand for products whose rows are normalized, and a text's likeness to itself does not count.

    Args:
        student: Its vectors are read.
        teacher: Its vectors are read.
        batch: Not read; no label is looked at.
    """
    assert teacher is not None
    own, wanted = (functional.normalize(outputs.logits.float(), dim=-1) for outputs in (student, teacher))
    apart = (own @ own.T - wanted @ wanted.T).square()
    return apart.sum() / max(1, len(own) * (len(own) - 1))
