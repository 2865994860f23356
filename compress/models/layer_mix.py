"""A weighted sum of all layers, learned, in the place of the last layer's answer.

Source: Peters et al. 2018, ELMo, arXiv 1802.05365, equation 1 (s and gamma).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.segments import segments_of
from compress.models.layout import encoder_layers

NAME = "layer_mix"
"""Of the module in a base model."""


class LayerMix(nn.Module):
    """Collects what goes into the first layer and what each layer answers, and lets the last one answer their weighted sum.

    Args:
        layers: How many there are.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights, self.scale = nn.Parameter(torch.zeros(layers + 1)), nn.Parameter(torch.ones(1))
        self.states: list[torch.Tensor] = []
        self.on = True

    @property
    def shares(self) -> torch.Tensor:
        """How much of the sum each state is, (layers + 1,), the embeddings first."""
        return self.weights.softmax(0)

    def mixed(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sum of states of equal shape, the embeddings first."""
        return self.scale * torch.stack([share * state for share, state in zip(self.shares, states, strict=True)]).sum(0)

    def begin(self, *_: Any) -> None:
        """A pass begins."""
        self.states.clear()

    def enter(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A layer is given a state, of which the first layer's counts."""
        if self.on and not self.states:
            self.states.append(args[0] if args else options["hidden_states"])

    def leave(self, _: nn.Module, args: tuple[Any, ...], answer: Any) -> Any:
        """A layer answers; the last one with the sum, of the first tokens alone where it computes no others."""
        if not self.on:
            return answer
        state = answer[0] if isinstance(answer, tuple) else answer
        self.states.append(state)
        if len(self.states) < len(self.weights):
            return answer
        mixed = self.mixed([known[:, : state.shape[1]] for known in self.states])
        self.states.clear()
        return (mixed, *answer[1:]) if isinstance(answer, tuple) else mixed


def mix_of(model: PreTrainedModel) -> LayerMix | None:
    """The mix of a model that has one."""
    mix = getattr(model.base_model, NAME, None)
    return mix if isinstance(mix, LayerMix) else None


def check_mixable(model: PreTrainedModel) -> None:
    """Raise InputError where a model has no layers, or reads segments."""
    if not encoder_layers(model):
        raise InputError(f"a {model.config.model_type} has no layers to mix; train all of it.")
    if segments_of(model) is not None:
        raise InputError("the model reads texts in segments, whose layers cannot be mixed; train all of it.")


def set_mix(model: PreTrainedModel) -> LayerMix:
    """Let a model mix its layers, in place, all alike to begin with; one that does stays as it is.

    Raises:
        InputError: See `check_mixable`.
    """
    if known := mix_of(model):
        return known
    check_mixable(model)
    layers = encoder_layers(model)
    with torch.device(next(layers[0].parameters()).device):
        mix = LayerMix(len(layers))
    base: Any = model.base_model
    base.add_module(NAME, mix)
    base.register_forward_pre_hook(mix.begin)
    for layer in dict.fromkeys(layers):
        layer.register_forward_pre_hook(mix.enter, with_kwargs=True)
        layer.register_forward_hook(mix.leave)
    return mix


@contextlib.contextmanager
def unmixed(model: PreTrainedModel) -> Iterator[None]:
    """Let the last layer answer for itself for a while."""
    mix = mix_of(model)
    if mix is not None:
        mix.on = False
    try:
        yield
    finally:
        if mix is not None:
            mix.on = True
