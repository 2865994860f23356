"""LoRA: products of two thin matrices beside large ones, which learn while these stay, and are added to them in the end, or
kept as adapters.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4.1. The matrices that
learn are peft's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.adapters import LINEAR, lora_of, set_adapter
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.layout import encoder_layers
from compress.models.surgery import copy_of

Place = Literal["query", "key", "value", "context", "neurons"]


def insert_lora(model: PreTrainedModel, *, rank: int, alpha: float, places: Sequence[Place], seed: int) -> list[str]:
    """Put low-rank matrices beside Linears of each layer, in place; the answers stay as they are.

    Args:
        model: Is changed.
        rank: Width between two thin matrices.
        alpha: Their product counts alpha / rank times.
        places: Beside which Linears: those of queries, keys and values, the one behind the heads, those of the neurons.
        seed: For the new weights.

    Returns:
        Names of the new weights.

    Raises:
        InputError: peft is not installed, or the model has no such Linears.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as err:
        raise InputError("train: lora needs the package peft; run: pip install 'bert-compress[peft]'") from err
    names = _linears(model, places)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), model)
    return [name for name, _ in model.named_parameters() if ".lora_" in name]


def _linears(model: PreTrainedModel, places: Sequence[Place]) -> list[str]:
    family = known_family(model)
    if not isinstance(family, Family):
        raise InputError(f"a {model.config.model_type} has no layers to put low-rank matrices in; train all of it.")
    of_place = {name: [path] for name, path in zip(("query", "key", "value"), family.projections, strict=True)}
    of_place |= {"context": [family.context], "neurons": [*family.feed_forward, *([family.gate] if family.gate else [])]}
    names = {module: name for name, module in model.named_modules()}
    wanted = []
    for layer in dict.fromkeys(encoder_layers(model)):
        for path in (path for place in places for path in of_place[place]):
            linear = layer.get_submodule(path)
            if type(linear) is not nn.Linear:
                said = f"{names[linear]} is no plain Linear, but a {type(linear).__name__}"
                raise InputError(f"{said}; train: lora has to come before what made it so.")
            if linear.in_features and linear.out_features:
                wanted.append(names[linear])
    return wanted


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Add peft's matrices to the Linears that they stand beside, in place; the model is then as any other."""
    for name, layer in _of_peft(model):
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model


def keep_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Let peft's matrices be adapters of ours, in place, which are saved with the model or alone; their scale is in `up`."""
    for name, layer in _of_peft(model):
        [learned] = layer.scaling
        model.set_submodule(name, layer.get_base_layer())
        adapter = set_adapter(model, name, layer.r[learned], beside=True).adapter
        with torch.no_grad():
            adapter.down.weight.copy_(layer.lora_A[learned].weight)
            adapter.up.weight.copy_(layer.scaling[learned] * layer.lora_B[learned].weight)
    return model


def _of_peft(model: PreTrainedModel) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]


def without_lora(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose kept matrices are added to the Linears that they stand beside; the model itself where it keeps none."""
    names = list(lora_of(model))
    if not names:
        return model
    merged = copy_of(model)
    for name in names:
        linear: Any = merged.get_submodule(f"{name}.{LINEAR}")
        adapter: Any = merged.get_submodule(f"{name}.adapter")
        with torch.no_grad():
            linear.weight += adapter.up.weight @ adapter.down.weight
        merged.set_submodule(name, linear)
    return merged
