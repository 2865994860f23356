"""Learn to tell the words that were hidden."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compress.objectives.hidden import projected
from compress.objectives.layer_map import last_layer
from compress.objectives.outputs import Batch, Outputs, Pairs

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = last_layer
PROJECTS = True
MASKS = True


def masked_words(
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    *,
    pairs: Pairs,
    head: nn.Module,
    projection: nn.Module | None = None,
) -> torch.Tensor:
    """Cross-entropy between the words that were hidden and what the student says stood there; mean over the hidden tokens.

    The student's last states are read by the head for masked words that its teacher was pre-trained with, and which stays.

    Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 3.1; Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 2
    (L_mlm).
    Differs: DistilBERT's head is its own copy and learns on.

    Args:
        student: Its last hidden state is read.
        teacher: Not read.
        batch: Its hidden words are read.
        pairs: The last layers of both.
        head: From the teacher's width to the pieces.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    assert batch.hidden is not None
    assert batch.words is not None
    said = said_words(student, batch, pairs[0][0], head, projection)
    return functional.cross_entropy(said, batch.words[batch.hidden])


def said_words(outputs: Outputs, batch: Batch, layer: int, head: nn.Module, projection: nn.Module | None) -> torch.Tensor:
    """What a model's head makes of the hidden tokens, (hidden tokens, pieces), float32."""
    answer: torch.Tensor = head(projected(outputs.states["hidden", layer][batch.hidden], projection))
    return answer.float()
