"""Build a model without memory for its weights, and give it memory once its shapes are known to be right."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.log import libraries_silenced
from compress.models.fused import new_model


def shapes_of(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """A model whose weights have shapes and no memory."""
    with torch.device("meta"), libraries_silenced():
        return new_model(kind, config)


def give_memory(model: Any) -> None:
    """Let weights without memory have some, in place; what they hold is left to whoever writes them.

    A parameter that stands in several modules stays one. Buffers get what a new model has in them: positions are counted, all
    others are 0, but for the frequencies of rotary positions, which the model computes.
    """
    made: dict[int, nn.Parameter] = {}
    computed: set[nn.Module] = set()
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if parameter.is_meta:
                if id(parameter) not in made:
                    empty = torch.empty_like(parameter, device="cpu")
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                setattr(module, name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                module._buffers[name] = _as_new(name, buffer)
                computed |= {module} if name.endswith("inv_freq") else set()
    for module in computed:  # of rotary positions
        model._init_weights(module)


def _as_new(name: str, buffer: torch.Tensor) -> torch.Tensor:
    if name == "position_ids":
        return torch.arange(buffer.shape[-1]).expand(buffer.shape).clone()
    return torch.zeros_like(buffer, device="cpu")


def begin_anew(model: Any, names: set[str]) -> None:
    """Draw the weights of these names as those of a new model, module by module."""
    for path, module in model.named_modules():
        own_names = [name for name, _ in module.named_parameters(recurse=False)]
        if own_names and all(f"{path}.{name}" in names for name in own_names):
            model._init_weights(module)
