"""Which kernel computes attention, and what the modules share that compute it in a way of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

from compress.errors import InputError
from compress.models.families.family import DECODER, Family

TOKENS = "compress_tokens"
"""The name, among transformers' kernels, of attention for long inputs (`compress.models.attention.long_attention`). Its
modules are told which tokens are no padding, (batch, length), so that no mask over all pairs of tokens is ever made."""


def _tokens(*_: Any, attention_mask: torch.Tensor | None = None, **__: Any) -> torch.Tensor | None:
    return attention_mask


def _full(*_: Any, **__: Any) -> Any:
    raise InputError("a layer with full attention stands in a model for long inputs; load the model with compress.load.")


def use_tokens(model: PreTrainedModel) -> None:
    """Let a model's modules compute attention as they say, and be told which tokens are no padding."""
    AttentionMaskInterface.register(TOKENS, _tokens)
    AttentionInterface.register(TOKENS, _full)
    model.config._attn_implementation = TOKENS


def hiding(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores where not all of them are allowed: 0, or half of the lowest number, so that no sum is below
    that. A sum is made in place, and is several times as fast in runtimes as a choice."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min / 2)


@contextlib.contextmanager
def attention_kernel(model: PreTrainedModel, kernel: str) -> Iterator[None]:
    """Let the model compute attention with another of transformers' kernels ("eager", "sdpa") for a while.

    Eager attention exports to a clean graph, and on a CPU it is the faster one to train with dropout. A model for long inputs
    keeps its own.
    """
    configs = [config for config in (model.config, getattr(model.config, DECODER, None)) if config is not None]
    originals = [config._attn_implementation for config in configs]
    for config, original in zip(configs, originals, strict=True):
        config._attn_implementation = TOKENS if original == TOKENS else kernel
    try:
        yield
    finally:
        for config, original in zip(configs, originals, strict=True):
            config._attn_implementation = original


def take_over(module: nn.Module, plain: nn.Module) -> None:
    """Let a module, whose class has a forward of its own, begin with the parts and sizes of the one whose place it takes."""
    nn.Module.__init__(module)
    vars(module).update(vars(plain))


def by_head(states: torch.Tensor, size: int) -> torch.Tensor:
    """(batch, length, heads * size) as (batch, heads, length, size)."""
    return states.view(*states.shape[:-1], -1, size).transpose(1, 2)


def attended(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *, scaling: float
) -> torch.Tensor:
    """What heads answer by the kernel that a module's configuration names, (batch, length, attention width).

    Args:
        module: Attention, with `config` and `dropout`.
        query: (batch, heads, length, head size).
        key: The same shape.
        value: The same shape.
        mask: What is added to the scores, (batch or 1, heads or 1, length or 1, length).
        scaling: Of the products of queries and keys.
    """
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention_forward)
    dropout = module.dropout.p if module.training else 0.0
    context, _weights = attend(module, query, key, value, mask, dropout=dropout, scaling=scaling)
    joined: torch.Tensor = context.flatten(2)
    return joined


class LongAttention(nn.Module):
    """A family's attention module that attends in another way; its projections stay where they were."""

    dropout: Any
    scaling: float
    attention_head_size: int
    kind = ""
    first_sees_all = False  # the first token, in exact attention
    global_projections: Any = None  # what the first token sees with, where it is not what the others do

    def __init__(self, plain: nn.Module, family: Family) -> None:
        super().__init__()
        for name, child in plain.named_children():
            setattr(self, name, child)
        assert family.heads is not None
        for name in (family.heads, "attention_head_size", "all_head_size", "scaling", "layer_idx"):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))
        self._heads, self._projections = family.heads, [path.rpartition(".")[2] for path in family.projections]
        context, _, own = family.context.rpartition(".")
        self._behind = own if context == family.attention else None

    @property
    def span(self) -> int:
        """Tokens of a block."""
        raise NotImplementedError

    def attend(
        self,
        hidden_states: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        layout: Any,
    ) -> torch.Tensor:
        """What the heads answer, (batch, heads, length, head size).

        Args:
            hidden_states: (batch, length, width).
            query: Scaled, (batch, heads, length, head size).
            key: The same shape.
            value: The same shape.
            mask: (batch, length), true for tokens.
            layout: How segments lie in the batch, where it is read in segments (`compress.models.attention.segments`).
        """
        raise NotImplementedError

    def seen_by_first(self, hidden_states: torch.Tensor, mask: torch.Tensor, layout: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The states that the first token attends to, itself the first of them, and which of them it may; see
        `compress.models.first_token.attended_by_first`."""
        return hidden_states, mask[:, None].bool()

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, layout: Any = None, **__: Any
    ) -> tuple[torch.Tensor, None]:
        batch, length = hidden_states.shape[:2]
        if attention_mask is None:
            attention_mask = torch.ones((batch, length), dtype=torch.bool, device=hidden_states.device)
        shape = (batch, length, getattr(self, self._heads), -1)
        query, key, value = (getattr(self, name)(hidden_states).view(shape).transpose(1, 2) for name in self._projections)
        context = self.attend(hidden_states, query * self.scaling, key, value, attention_mask.bool(), layout)
        context = context.transpose(1, 2).reshape(batch, length, -1)
        return (context if self._behind is None else getattr(self, self._behind)(context)), None
