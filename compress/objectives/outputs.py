"""What an objective sees of a model and of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Outputs:
    """What a model answers to a batch.

    Args:
        logits: (batch, labels).
        hidden: The embeddings' output and each layer's, (batch, length, width); empty when no objective needs it.
    """

    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Batch:
    """The examples of one step.

    Args:
        labels: (batch,), label ids.
        attention_mask: (batch, length), 1 for tokens and 0 for padding.
    """

    labels: torch.Tensor
    attention_mask: torch.Tensor
