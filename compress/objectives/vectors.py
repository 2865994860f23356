"""Learn the teacher's vectors."""

from __future__ import annotations

import torch
from torch import nn

from compress.objectives.hidden import projected
from compress.objectives.outputs import Batch, Outputs

NEEDS: frozenset[str] = frozenset({"teacher"})
OF_VECTORS = True
PROJECTS_VECTORS = True


def vectors(student: Outputs, teacher: Outputs | None, batch: Batch, *, projection: nn.Module | None = None) -> torch.Tensor:
    """Squared distance between the vectors of student and teacher; mean over the texts, sum over the dimensions.

    Of vectors with a length of 1 that is 2 minus twice their cosine. A student that learns them answers in its teacher's
    space: documents that the teacher has embedded are searched with the student's queries.

    Source: Vujanic and Rueckstiess 2025, LEAF, arXiv 2509.12539, section 3.1; Reimers and Gurevych 2020, arXiv 2004.09813,
    equation 1.

    Args:
        student: Its vectors are read.
        teacher: Its vectors are read.
        batch: Not read; no label is looked at.
        projection: From the student's dimensions to the teacher's; None where they are equal.
    """
    assert teacher is not None
    return (projected(student.logits, projection) - teacher.logits.float()).square().sum(-1).mean()
