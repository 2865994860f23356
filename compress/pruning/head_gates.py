"""Gates that learn which heads a task needs, beside the model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.layout import distinct_layers, head_count
from compress.pruning.gates import gated, gated_anew
from compress.pruning.hard_concrete import LEAST, MOST, drawn, open_probability

BEGIN = 2.0  # of log alpha: open in 0.97 of the draws, and not so far open that nothing can be learned


class HeadGates(nn.Module):
    """The logarithm of alpha of a hard-concrete gate for each head of each distinct layer.

    Source: Voita et al. 2019, arXiv 1905.09418, section 5.

    Args:
        model: Its heads are gated; nothing of it is kept.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.is_applied = False
        self.counts = [head_count(layer) for layer in distinct_layers(model)]
        self.log_alpha = nn.Parameter(torch.full((sum(self.counts),), BEGIN))

    def by_layer(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Numbers for all heads, cut into those of each layer."""
        return list(values.split_with_sizes(self.counts))

    def settled(self) -> torch.Tensor:
        """The gates of evaluation and of the result, without a draw, (heads,)."""
        return (self.log_alpha.detach().sigmoid() * (MOST - LEAST) + LEAST).clamp(0, 1)

    def expected_open(self) -> torch.Tensor:
        """How many heads a draw leaves open on average: the L0 penalty."""
        return open_probability(self.log_alpha).sum()

    @contextlib.contextmanager
    def applied(self, student: PreTrainedModel) -> Iterator[None]:
        """Gate every forward pass inside: by a draw of its own in training, by settled gates else."""

        def gate() -> contextlib.AbstractContextManager[None]:
            return gated(student, self.by_layer(drawn(self.log_alpha) if student.training else self.settled()))

        with gated_anew(student, gate):
            yield
