"""Learn where the teacher's heads look."""

from __future__ import annotations

import torch

from compress.objectives.layer_map import each_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "scores"})
PAIRS = each_layer
SAME: frozenset[str] = frozenset({"heads"})


def attention(student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's attention (after the softmax) from the teacher's.

    Sum over the tokens looked at; mean over heads and over looking tokens that are no padding, then over the layers. With
    `layers: last` it is MiniLM's; with all layers, MobileBERT's.

    Source: Wang et al. 2020, MiniLM, arXiv 2002.10957, equation 6; Sun et al. 2020, MobileBERT, arXiv 2004.02984, section 3.5.

    Args:
        student: Its attention scores are read.
        teacher: Its attention scores are read; it has as many heads.
        batch: Its attention mask is read.
        pairs: Which layer of the student learns from which of the teacher.
    """
    assert teacher is not None
    return mean_over(
        (
            batch.row_divergence(teacher.states["scores", teacher_layer], student.states["scores", student_layer])
            for student_layer, teacher_layer in batch.taught(pairs)
        ),
        batch,
    )
