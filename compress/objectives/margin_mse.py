"""Learn by how much the teacher prefers one passage of a query to another."""

from __future__ import annotations

import torch

from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})
READS_LABELS = True
READS_GROUPS = True


def margin_mse(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    """Squared difference of margins: how much higher student and teacher score a passage than a less relevant one.

    Margins are between passages of one query. Mean over a query's pairs, then over the queries that have such a pair; 0 where
    none has. What is added to all passages of a query counts for nothing.

    Source: Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
    arXiv 2010.02666 (Margin-MSE).
    Differs: all pairs of a query's passages of unlike relevance count, not one pair alone.

    Args:
        student: Its scores are read.
        teacher: Its scores are read.
        batch: Tells which examples are passages of one query, and how relevant each is.
    """
    assert teacher is not None
    own, wanted = (batch.grouped(outputs.logits)[..., 0].float() for outputs in (student, teacher))
    relevances, mask = batch.grouped(batch.labels)[..., 0], batch.compared("all")
    better = (relevances[:, :, None] > relevances[:, None]) & mask[:, :, None] & mask[:, None]  # (queries, passages, passages)
    errors = _margins(own) - _margins(wanted)
    counts = better.sum((1, 2))
    means = (errors.square() * better).sum((1, 2)) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def _margins(scores: torch.Tensor) -> torch.Tensor:
    return scores[:, :, None] - scores[:, None]
