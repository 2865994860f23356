"""AdamW over groups of parameters, each with its rate and decay."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from compress.training.settings import Settings


def optimizer_of(
    learned: nn.Module, settings: Settings, rates: Mapping[str, float], shares: Mapping[nn.Parameter, float]
) -> torch.optim.Optimizer:
    """Build AdamW; matrices decay, unless they have a rate of their own, and biases and norms do not.

    Source: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        learned: What is trained, but for what has no gradients.
        settings: Learning rate and weight decay.
        rates: Learning rates of parameters with one of their own, by how their names end.
        shares: How much of the learning rate the others get; all of it where nothing is said.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learned.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = next((rate for ending, rate in rates.items() if name.endswith(ending)), None)
        is_matrix = name.removesuffix(".original").endswith("weight") and parameter.ndim > 1  # the former: parametrized
        decay = settings.weight_decay if is_matrix and rate is None else 0.0
        rate = rate or settings.learning_rate * shares.get(parameter, 1.0)
        groups.setdefault((rate, decay), []).append(parameter)
    listed = [{"params": group, "weight_decay": decay, "highest": rate} for (rate, decay), group in groups.items()]
    return torch.optim.AdamW(listed, lr=settings.learning_rate, fused=True)
