"""Learn the teacher's attention scores before the softmax."""

from __future__ import annotations

import torch

from compress.objectives.layer_map import each_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "scores"})
PAIRS = each_layer
SAME: frozenset[str] = frozenset({"heads"})


def attention_scores(student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs) -> torch.Tensor:
    """Mean squared error between the attention scores of student and teacher before the softmax.

    Mean over heads and over pairs of tokens that both are no padding, then over the layers.

    Source: Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equation 6 (scores rather than softmax outputs).
    Differs: padding is left out, where TinyBERT's code sets it to 0 in both and counts it; the mean runs over layers.

    Args:
        student: Its attention scores are read.
        teacher: Its attention scores are read; it has as many heads.
        batch: Its attention mask is read.
        pairs: Which layer of the student learns from which of the teacher.
    """
    assert teacher is not None
    columns = batch.attention_mask[:, None, None]  # (batch, 1, 1, length)
    counts = batch.attention_mask.sum(-1)
    total = (counts * counts).sum()
    errors = []
    for student_layer, teacher_layer in batch.taught(pairs):
        difference = student.states["scores", student_layer].float() - teacher.states["scores", teacher_layer].float()
        squares = difference.square() * columns * columns.transpose(-1, -2)
        errors.append(squares.sum() / (total * squares.shape[1]))
    return mean_over(errors, batch)
