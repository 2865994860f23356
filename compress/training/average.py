"""The mean of the weights over the last part of training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

SAMPLES = 100  # more of them cost time and change the mean little

Weights = dict[str, torch.Tensor]


def sample_number(fraction: float, step: int, total: int) -> int:
    """Which sample of the mean the weights after optimizer step `step` (counted from 1) of `total` are; 0 for none.

    The samples lie evenly in the last `fraction` of the steps; the last step is always one.
    """
    averaged = min(total, round(fraction * total)) if fraction else 0
    every = max(1, averaged // SAMPLES)
    left = total - step
    if left >= averaged or left % every:
        return 0
    return -(-averaged // every) - left // every


@torch.no_grad()
def taken_in(mean: Weights | None, model: nn.Module, number: int) -> Weights:
    """The mean with the model's weights as its sample `number`, counted from 1; `mean` is changed in place.

    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", arXiv 1803.05407,
    algorithm 1.
    """
    if mean is None:
        return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        mean[name].lerp_(parameter, 1 / number)
    return mean


@contextlib.contextmanager
def standing_in(mean: Weights | None, model: nn.Module) -> Iterator[None]:
    """Let the model have the mean for its weights, where there is one."""
    if mean is None:
        yield
        return
    own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    _set(model, mean)
    try:
        yield
    finally:
        _set(model, own)


@torch.no_grad()
def _set(model: nn.Module, weights: Weights) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
