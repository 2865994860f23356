"""Teach the first numbers of vectors to be vectors of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from compress.objectives.outputs import Batch, Outputs


def nested(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    term: Callable[[Outputs, Outputs | None, Batch], torch.Tensor],
    dimensions: Sequence[int],
) -> torch.Tensor:
    """The mean of an objective over whole vectors and their beginnings.

    Source: Kusupati et al. 2022, Matryoshka representation learning, arXiv 2205.13147, equation 1, all weights equal.

    Args:
        student: Its vectors are cut.
        teacher: Whole.
        batch: As the objective reads it.
        term: The objective.
        dimensions: How many numbers each beginning has.
    """
    cuts = [student, *(replace(student, logits=student.logits[:, :count]) for count in dimensions)]
    return torch.stack([term(cut, teacher, batch) for cut in cuts]).mean()
