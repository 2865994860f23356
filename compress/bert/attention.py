"""Which kernel computes attention."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from transformers import PreTrainedModel


@contextlib.contextmanager
def attention_kernel(model: PreTrainedModel, kernel: str) -> Iterator[None]:
    """Let the model compute attention with another of transformers' kernels ("eager", "sdpa") for a while.

    Eager attention exports to a clean graph, and on a CPU it is the faster one to train with dropout.
    """
    original = model.config._attn_implementation
    model.config._attn_implementation = kernel
    try:
        yield
    finally:
        model.config._attn_implementation = original
