"""Learn the output of the teacher's embeddings."""

from __future__ import annotations

import torch
from torch import nn

from compress.objectives.hidden import hidden
from compress.objectives.layer_map import embeddings
from compress.objectives.outputs import Batch, Outputs, Pairs

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = embeddings
PROJECTS = True


def embedding(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """Mean squared error between the embeddings' outputs of student and teacher, padding left out.

    Mean over tokens that are no padding and over the teacher's width.

    Source: Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equation 8; the projection is W_e.

    Args:
        student: Its hidden state 0 is read.
        teacher: Its hidden state 0 is read.
        batch: Its attention mask is read.
        pairs: The embeddings of both.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    return hidden(student, teacher, batch, pairs=pairs, projection=projection)
