"""What stays of attention without heads and of a feed-forward part without neurons: the bias, and the LayerNorm behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class EmptyLinear(nn.Linear):
    """A Linear that reads nothing, and answers its bias, or that answers nothing: no product is computed or exported."""

    def reset_parameters(self) -> None:
        """Let the bias be 0; torch would warn of a weight without elements."""
        nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.out_features:
            return input[..., :0]
        return self.bias.to(input.dtype).expand(*input.shape[:-1], -1)


def linear_of(inputs: int, outputs: int) -> nn.Linear:
    """A Linear with a bias; an empty one where either width is 0."""
    return (nn.Linear if inputs and outputs else EmptyLinear)(inputs, outputs)


def without_heads(attention: Any) -> None:
    """Let an attention module, in place, answer to its output Linear that there are no heads."""
    if not hasattr(attention, "is_headless"):
        attention.__class__ = _headless(type(attention))


def _headless(kind: type[nn.Module]) -> type[nn.Module]:
    forward = _FORWARDS.get(kind.__name__, _forward)
    return type(f"Headless{kind.__name__}", (kind,), {"forward": forward, "is_headless": True})


def _forward(attention: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    """BERT's and MobileBERT's, whose output Linear stands behind the module."""
    return hidden_states[..., :0], None


def _forward_in_distilbert(attention: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    return attention.out_lin(hidden_states), None


def _forward_in_albert(attention: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    return attention.LayerNorm(hidden_states + attention.output_dropout(attention.dense(hidden_states))), None


_FORWARDS = {"DistilBertSelfAttention": _forward_in_distilbert, "AlbertAttention": _forward_in_albert}
