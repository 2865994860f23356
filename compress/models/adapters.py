"""Adapters: two thin Linears behind a large one, or beside it, which learn while it stays.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv 1902.00751, section 2.1; the single one of
Pfeiffer et al. 2020, MAD-X, arXiv 2005.00052. Those beside are LoRA's, see `compress.models.lora`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.layout import behind_encoder, encoder_layers

LINEAR = "linear"
"""What an adapted Linear is called where it stands."""
SPREAD = 1e-3
"""Standard deviation of new weights, so that a new adapter leaves the answers nearly as they were."""


class Adapter(nn.Module):
    """What is added to what a Linear answers: `up` (size, width) of GELU of `down` (width, size) of the same."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)

    def forward(self, input: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        adapted: torch.Tensor = answer + self.up(nn.functional.gelu(self.down(answer)))
        return adapted


class LowRankAdapter(nn.Module):
    """What is added to what a Linear answers: `up` (rank, out) of `down` (in, rank) of what it reads, without biases."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)

    def forward(self, input: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        adapted: torch.Tensor = answer + self.up(self.down(input))
        return adapted


class AdaptedLinear(nn.Module):
    """A Linear with an adapter behind it or beside it."""

    def __init__(self, linear: nn.Module, adapter: Adapter | LowRankAdapter) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter

    @property
    def in_features(self) -> int:
        """The width that it reads."""
        return int(self.linear.in_features)  # type: ignore[arg-type]

    @property
    def out_features(self) -> int:
        """The width that it answers."""
        return int(self.linear.out_features)  # type: ignore[arg-type]

    @property
    def weight(self) -> torch.Tensor:
        """The Linear's, (out, in)."""
        return self.linear.weight  # type: ignore[return-value]

    @property
    def bias(self) -> torch.Tensor | None:
        """The Linear's, (out,)."""
        return self.linear.bias  # type: ignore[return-value]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.adapter(input, self.linear(input))
        return answer


def adapters_of(model: nn.Module) -> dict[str, int]:
    """The size of each adapter behind a Linear, by the Linear's name."""
    return _sizes(model, Adapter)


def lora_of(model: nn.Module) -> dict[str, int]:
    """The rank of each adapter beside a Linear, by the Linear's name."""
    return _sizes(model, LowRankAdapter)


def _sizes(model: nn.Module, kind: type[Adapter | LowRankAdapter]) -> dict[str, int]:
    return {
        name: module.adapter.down.out_features
        for name, module in model.named_modules()
        if isinstance(module, AdaptedLinear) and isinstance(module.adapter, kind)
    }


def learned_with_adapters(model: PreTrainedModel) -> list[str]:
    """Names of what learns: the adapters, the layers' normalizations, and the head."""
    inner = {module for layer in encoder_layers(model) for module in layer.modules()}
    learning = [(path, module) for path, module in model.named_modules() if module in inner and _learns(module)]
    inside = [f"{path}.{name}" for path, module in learning for name, _ in module.named_parameters()]
    return [*inside, *behind_encoder(model)]


def _learns(module: nn.Module) -> bool:
    is_norm = "norm" in type(module).__name__.lower() and not list(module.children())
    return is_norm or isinstance(module, Adapter | LowRankAdapter)


def without_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """Take a model's adapters out, in place."""
    for name in (*adapters_of(model), *lora_of(model)):
        model.set_submodule(name, model.get_submodule(f"{name}.{LINEAR}"))
    return model


def set_adapter(model: nn.Module, name: str, size: int, *, beside: bool = False) -> AdaptedLinear:
    """Put a new adapter behind a Linear, or beside it, in place."""
    old: Any = model.get_submodule(name)
    with torch.device(old.weight.device):
        adapter = LowRankAdapter(old.in_features, old.out_features, size) if beside else Adapter(old.out_features, size)
        new = AdaptedLinear(old, adapter).train(old.training)
    model.set_submodule(name, new)
    return new


def insert_adapters(model: PreTrainedModel, size: int, *, both: bool, seed: int) -> None:
    """Put adapters behind what each layer's attention and feed-forward parts answer, in place; those that are there stay.

    Args:
        model: Is changed.
        size: Numbers between an adapter's Linears.
        both: Behind attention, too; else behind the feed-forward part alone.
        seed: For the new weights.

    Raises:
        InputError: The model has no layers, or adapters of another size.
    """
    family = known_family(model)
    if not isinstance(family, Family):
        raise InputError(f"a {model.config.model_type} has no layers to put adapters in; train all of it.")
    if others := {known for known in adapters_of(model).values() if known != size}:
        raise InputError(f"the model has adapters of size {min(others)} already; train those, with this size.")
    random = torch.Generator().manual_seed(seed)
    paths = (family.context, family.feed_forward[-1]) if both else (family.feed_forward[-1],)
    names = {module: name for name, module in model.named_modules()}
    for layer in dict.fromkeys(encoder_layers(model)):
        for path in paths:
            linear = layer.get_submodule(path)
            if isinstance(linear, AdaptedLinear) or not linear.in_features:
                continue
            adapter = set_adapter(model, names[linear], size).adapter
            for part in (adapter.down, adapter.up):
                with torch.no_grad():
                    drawn = torch.empty(part.weight.shape)
                    nn.init.trunc_normal_(drawn, std=SPREAD, a=-2 * SPREAD, b=2 * SPREAD, generator=random)
                    part.weight.copy_(drawn)
                    part.bias.zero_()
