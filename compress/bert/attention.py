"""Which kernel computes attention."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from compress.errors import InputError

TOKENS = "compress_tokens"
"""The name, among transformers' kernels, of attention for long inputs (`compress.bert.long_attention`). Its modules are told
which tokens are no padding, (batch, length), so that no mask over all pairs of tokens is ever made."""


def _tokens(*_: Any, attention_mask: torch.Tensor | None = None, **__: Any) -> torch.Tensor | None:
    return attention_mask


def _full(*_: Any, **__: Any) -> Any:
    raise InputError("a layer with full attention stands in a model for long inputs; load the model with compress.load.")


AttentionMaskInterface.register(TOKENS, _tokens)
AttentionInterface.register(TOKENS, _full)


@contextlib.contextmanager
def attention_kernel(model: PreTrainedModel, kernel: str) -> Iterator[None]:
    """Let the model compute attention with another of transformers' kernels ("eager", "sdpa") for a while.

    Eager attention exports to a clean graph, and on a CPU it is the faster one to train with dropout. A model for long inputs
    keeps its own.
    """
    original = model.config._attn_implementation
    model.config._attn_implementation = TOKENS if original == TOKENS else kernel
    try:
        yield
    finally:
        model.config._attn_implementation = original
