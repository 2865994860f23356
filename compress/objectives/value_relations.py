"""Learn how the teacher's values resemble each other, within each head."""

from __future__ import annotations

import torch

from compress.models.states import head_products
from compress.objectives.layer_map import last_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "value"})
PAIRS = last_layer
SAME: frozenset[str] = frozenset({"heads"})


def value_relations(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, heads: tuple[int, int]
) -> torch.Tensor:
    """Kullback-Leibler divergence between the last layers' value relations, the softmax of values' products in each head.

    Sum over columns; mean over heads and rows that belong to tokens that are no padding.

    Source: Wang et al. 2020, MiniLM, arXiv 2002.10957, equations 7 to 9.

    Args:
        student: Its values are read.
        teacher: Its values are read; it has as many heads, of any size.
        batch: Its attention mask is read.
        pairs: The last layers of both.
        heads: How many the student and the teacher have there.
    """
    assert teacher is not None
    return mean_over(
        (
            batch.row_divergence(_relations(teacher, teacher_layer, heads[1]), _relations(student, student_layer, heads[0]))
            for student_layer, teacher_layer in batch.taught(pairs)
        ),
        batch,
    )


def _relations(outputs: Outputs, layer: int, heads: int) -> torch.Tensor:
    values = outputs.states["value", layer].float()
    return head_products(values, values, heads)
