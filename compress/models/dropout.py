"""Dropout at the price of a few random bits, and of another probability than a model's own.

On a CPU, torch draws one random number per element, which is a tenth of the time of a training step of a small BERT. Sixteen
bits per element decide as well: probabilities are rounded to 1/65536.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

STEPS = 1 << 16
OF_ATTENTION = "attention_dropout"
"""What some families' attention calls a probability, which others give a module."""


class _SixteenBitDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, probability: float) -> torch.Tensor:
        count = values.numel()
        words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[:count].view(values.shape)
        factors = torch.empty_like(values, memory_format=torch.contiguous_format)
        torch.ge(bits, round(probability * STEPS) - STEPS // 2, out=factors)
        factors.mul_(1 / (1 - probability))
        ctx.save_for_backward(factors)
        return values * factors

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (factors,) = ctx.saved_tensors
        return gradients[0] * factors, None


def sixteen_bit_dropout(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Zero each element with probability p (rounded to 1/65536) and scale the others by 1/(1-p).

    Source: Srivastava et al., "Dropout", JMLR 15 (2014); the drawing is ours.
    """
    if not training or p == 0:
        return values
    if p >= 1:
        return torch.zeros_like(values)
    dropped: torch.Tensor = _SixteenBitDropout.apply(values, p)  # type: ignore[no-untyped-call]
    return dropped


@contextlib.contextmanager
def sixteen_bits() -> Iterator[None]:
    """Let every dropout on the CPU inside draw sixteen bits per element; dropout on other devices stays torch's."""
    original = nn.functional.dropout

    def dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        draw = sixteen_bit_dropout if input.device.type == "cpu" else original
        return draw(input, p, training, inplace)

    nn.functional.dropout = dropout
    try:
        yield
    finally:
        nn.functional.dropout = original


@contextlib.contextmanager
def dropout_at(model: nn.Module, probability: float | None) -> Iterator[None]:
    """Let every dropout of a model's numbers have this probability for a while; None leaves each as it is.

    That of whole pieces, which models of vectors alone have (`token_dropout`), stays.
    """
    originals: list[tuple[nn.Module, str, float]] = []
    for module in model.modules() if probability is not None else ():
        name = "p" if isinstance(module, nn.Dropout) else OF_ATTENTION
        if isinstance(original := getattr(module, name, None), float | int):
            originals.append((module, name, original))
            setattr(module, name, probability)
    try:
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)
