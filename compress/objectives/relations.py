"""Learn how the teacher's queries, keys and values resemble each other, however many heads the student has."""

from __future__ import annotations

import torch

from compress.models.states import PROJECTIONS, head_products
from compress.objectives.layer_map import last_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "query", "key", "value"})
PAIRS = last_layer


def relations(student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, relation_heads: int) -> torch.Tensor:
    """Kullback-Leibler divergence between query-query, key-key and value-value relations of the last layer.

    Queries, keys and values are split anew into relation heads of equal width; a relation is the softmax of products over the
    root of that width, in float32. Sum over columns; mean over relation heads and over rows that belong to tokens that are no
    padding; sum over the three kinds.

    Source: Wang et al. 2021, MiniLMv2, arXiv 2012.15828, equations 2 to 5, all three weights 1.

    Args:
        student: Its queries, keys and values are read.
        teacher: Its queries, keys and values are read.
        batch: Its attention mask is read.
        pairs: The student's last layer and the teacher's layer that it learns from.
        relation_heads: Into how many slices; more of them are finer. It divides both widths.
    """
    assert teacher is not None
    errors = []
    for student_layer, teacher_layer in batch.taught(pairs):
        for kind in PROJECTIONS:
            own, wanted = student.states[kind, student_layer].float(), teacher.states[kind, teacher_layer].float()
            errors.append(batch.row_divergence(*(head_products(states, states, relation_heads) for states in (wanted, own))))
    return mean_over(errors, batch) * len(PROJECTIONS)
