"""Learn what the teacher makes of the words that were hidden."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compress.objectives.layer_map import last_layer
from compress.objectives.masked_words import said_words
from compress.objectives.outputs import Batch, Outputs, Pairs

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = last_layer
PROJECTS = True
MASKS = True


def masked_logits(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    pairs: Pairs,
    head: nn.Module,
    projection: nn.Module | None = None,
    temperature: float = 2.0,
) -> torch.Tensor:
    """T² times the divergence of the student's answers for hidden words from the teacher's, mean over the hidden tokens.

    Both read the same text with the same words hidden; the head for masked words is the teacher's for both.

    Source: Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 2 (L_ce); T is 2 there.

    Args:
        student: Its last hidden state is read.
        teacher: Its last hidden state is read.
        batch: Its hidden words are read.
        pairs: The last layers of both.
        head: From the teacher's width to the pieces.
        projection: From the student's width to the teacher's; None where they are equal.
        temperature: T; higher shows more of what the teacher thinks of other words.
    """
    assert teacher is not None
    with torch.no_grad():
        teacher_rows = functional.log_softmax(said_words(teacher, batch, pairs[0][1], head, None) / temperature, dim=-1)
    student_rows = functional.log_softmax(said_words(student, batch, pairs[0][0], head, projection) / temperature, dim=-1)
    return functional.kl_div(student_rows, teacher_rows, reduction="batchmean", log_target=True) * temperature**2
