"""Numbers that heads and neurons are multiplied by, to learn which of them a model needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import family_of_layer
from compress.models.layout import distinct_layers, head_count, head_size, neuron_count
from compress.models.surgery import copy_of

Gates = Sequence[torch.Tensor]


def open_gates(model: PreTrainedModel) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gates that change nothing, for each distinct layer: of its heads, (heads,), and of its neurons, (intermediate,)."""
    layers, device = distinct_layers(model), next(model.parameters()).device
    heads = [torch.ones(head_count(layer), device=device) for layer in layers]
    return heads, [torch.ones(neuron_count(layer), device=device) for layer in layers]


@contextlib.contextmanager
def gated(model: PreTrainedModel, heads: Gates | None = None, neurons: Gates | None = None) -> Iterator[None]:
    """Multiply what heads and neurons answer by gates, before the Linears that read them; gradients reach the gates.

    Args:
        model: Is left as it is.
        heads: For each distinct layer (heads,), or (batch, heads) for other gates in each example.
        neurons: For each distinct layer (intermediate,), or (batch, intermediate); of the last feed-forward part.
    """
    with contextlib.ExitStack() as stack:
        for index, layer in enumerate(distinct_layers(model)):
            family = family_of_layer(layer)
            if heads is not None:
                size = head_size(layer)
                hook = _multiplied(heads[index], size)
                stack.callback(layer.get_submodule(family.context).register_forward_pre_hook(hook).remove)
            if neurons is not None:
                hook = _multiplied(neurons[index], 1)
                stack.callback(layer.get_submodule(family.feed_forward[1]).register_forward_pre_hook(hook).remove)
        yield


@contextlib.contextmanager
def gated_anew(model: PreTrainedModel, gate: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
    """Enter what `gate` makes before each forward pass inside, and leave it behind the pass."""
    with contextlib.ExitStack() as inside:
        hooks = [
            model.register_forward_pre_hook(lambda *_: inside.enter_context(gate())),
            model.register_forward_hook(lambda *_: inside.close(), always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _multiplied(gates: torch.Tensor, times: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], torch.Tensor]:
    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if not gates.shape[-1]:
            return inputs[0]
        columns = gates.repeat_interleave(times, -1)
        return inputs[0] * (columns if columns.ndim == 1 else columns[:, None]).to(inputs[0].dtype)

    return hook


@torch.no_grad()
def fold_gates(model: PreTrainedModel, heads: Gates | None = None, neurons: Gates | None = None) -> PreTrainedModel:
    """Copy the model with the gates multiplied into the Linears that read the heads and the neurons.

    Args:
        model: Stays as it is.
        heads: For each distinct layer (heads,).
        neurons: For each distinct layer (intermediate,).
    """
    student = copy_of(model)
    for index, layer in enumerate(distinct_layers(student)):
        family: Any = family_of_layer(layer)
        for gates, name, times in (
            (heads, family.context, head_size(layer)),
            (neurons, family.feed_forward[1], 1),
        ):
            if gates is not None:
                layer.get_submodule(name).weight.mul_(gates[index].repeat_interleave(times))
    return student
