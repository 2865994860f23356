"""What stays of attention without heads and of a feed-forward part without neurons: the bias, and the LayerNorm behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class EmptyLinear(nn.Linear):
    """A Linear that reads nothing, and answers its bias (0 without one), or that answers nothing: nothing is multiplied."""

    def reset_parameters(self) -> None:
        """Let the bias be 0; torch would warn of a weight without elements."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.out_features:
            return input[..., :0]
        bias = self.bias if self.bias is not None else input.new_zeros(self.out_features)
        return bias.to(input.dtype).expand(*input.shape[:-1], -1)


def linear_of(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A Linear; an empty one where either width is 0."""
    return (nn.Linear if inputs and outputs else EmptyLinear)(inputs, outputs, bias=bias)


class Headless(nn.Module):
    """What stands for an attention module without heads: its parts and sizes, and what the family answers then.

    Args:
        plain: The module, whose parts this one takes over.
        answer: See `Family.headless`.
    """

    def __init__(self, plain: nn.Module, answer: Callable[[Any, torch.Tensor], tuple[torch.Tensor, None]]) -> None:
        super().__init__()
        vars(self).update(vars(plain))
        self.answer = answer

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        return self.answer(self, hidden_states)
