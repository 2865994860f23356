"""Quantized Linears to test, and what whole numbers answer, worked out with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from compress.models.quantizers import QuantizedLinear

FORMS = [(per_channel, symmetric) for per_channel in (True, False) for symmetric in (True, False)]
LOW, HIGH = -1.3, 2.2
DIVISOR = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0, 1.5])


def linear(
    *, per_channel: bool = True, symmetric: bool = True, bias: bool = True, low: float = LOW, high: float = HIGH
) -> Any:
    """A quantized Linear from six numbers to five, with a range."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made = QuantizedLinear(nn.Linear(6, 5, bias=bias), per_channel=per_channel, symmetric=symmetric)
    made.set_range(low, high)
    return made


def numbers(*shape: int, seed: int = 7) -> torch.Tensor:
    """Values of which a good part lies outside of the range."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5


def grid(low: float, high: float, symmetric: bool) -> tuple[np.float32, int]:
    """Scale and zero of an input, as the runtimes define them."""
    if symmetric:
        return np.float32(max(-low, high)) / np.float32(127), 0
    scale = (np.float32(high) - np.float32(low)) / np.float32(255)
    return scale, int(np.round(-128 - np.float32(low) / scale))


def whole_weight(plain: Any, per_channel: bool, divisor: Any = 1, qmax: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """The weight's whole numbers and their scales, (out, in) and (out, 1)."""
    weight = plain.weight.detach().numpy() * np.asarray(divisor, dtype=np.float32)
    most = np.abs(weight).max(1, keepdims=True) if per_channel else np.abs(weight).max() * np.ones((len(weight), 1))
    scale = most.astype(np.float32) / np.float32(qmax)
    return np.clip(np.round(weight / scale), -qmax, qmax).astype(np.int32), scale


def integer_answers(
    values: torch.Tensor,
    plain: Any,
    low: float,
    high: float,
    per_channel: bool,
    symmetric: bool,
    divisor: Any = 1,
    qmax: int = 127,
) -> np.ndarray:
    """What a runtime computes: 32-bit sums of products of whole numbers, scaled, and the bias."""
    scale, zero = grid(low, high, symmetric)
    divided = values.numpy() / np.asarray(divisor, dtype=np.float32)
    whole = np.clip(np.round(divided / scale) + zero, -128, 127).astype(np.int32) - zero
    weight, weight_scale = whole_weight(plain, per_channel, divisor, qmax)
    bias = 0 if plain.bias is None else plain.bias.detach().numpy()
    return (whole @ weight.T) * (scale * weight_scale[:, 0]) + bias
