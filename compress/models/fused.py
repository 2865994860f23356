"""Linears that stand for several, as one for query, key and value: taken apart while a model is changed, one again in files.

Everything that cuts, scores or quantizes a layer works on Linears of one purpose each. Saved weights keep the family's own
names, so that transformers loads them, and an exported graph multiplies once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.models.families import KNOWN, known_family
from compress.models.families.family import EncoderFree, Family

ENDS = ("weight", "bias")


class Joined(nn.Module):
    """Linears that read one input and whose answers stand one behind the other, as those of one Linear would.

    Args:
        parts: By name, in order.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.cat([part(input) for part in self.children()], -1)

    @property
    def is_plain(self) -> bool:
        """Whether one Linear could stand for it."""
        return all(type(part) is nn.Linear for part in self.children())


def new_model(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """A model of random weights, whose fused Linears are their parts, and whose attention transformers' kernels compute."""
    kernel = config._attn_implementation
    adapt = getattr(KNOWN[config.model_type], "adapted", None)
    if adapt:
        config._attn_implementation = "eager"  # the only one that it has in transformers
    model = kind(config)
    if adapt:
        adapt(model)
        model.config._attn_implementation = kernel
    return take_apart(model)


def take_apart(model: PreTrainedModel) -> PreTrainedModel:
    """Let the fused Linears of a freshly made model be their parts, in place; the same answers.

    Args:
        model: Its weights may have shapes alone.
    """
    family = known_family(model)
    if not family.fused or isinstance(family, EncoderFree):
        return model
    for layer in family.executed(model.config, model.base_model.get_submodule(family.layers)):
        for path, names in family.fused.items():
            whole = layer.get_submodule(path)
            if isinstance(whole, nn.Linear):
                layer.set_submodule(path, Joined(dict(zip(names, _parts(whole, len(names)), strict=True))))
    return model


def _parts(whole: nn.Linear, count: int) -> list[nn.Linear]:
    parts = []
    biases = [None] * count if whole.bias is None else whole.bias.detach().chunk(count)
    for weight, bias in zip(whole.weight.detach().chunk(count), biases, strict=True):
        part = nn.Linear(whole.in_features, len(weight), bias=bias is not None, device="meta")
        part.weight = nn.Parameter(weight.clone(), requires_grad=whole.weight.requires_grad)
        if bias is not None:
            part.bias = nn.Parameter(bias.clone(), requires_grad=whole.weight.requires_grad)
        parts.append(part)
    return parts


@contextlib.contextmanager
def joined(model: PreTrainedModel) -> Iterator[None]:
    """Let Linears that were taken apart be one again for a while, where each part is a plain one: one product, not several."""
    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, Joined) and module.is_plain]
    for name, module in modules:
        model.set_submodule(name, _whole(module))
    try:
        yield
    finally:
        for name, module in modules:
            model.set_submodule(name, module)


@torch.no_grad()
def _whole(module: Joined) -> nn.Linear:
    parts: list[Any] = list(module.children())
    weight = torch.cat([part.weight for part in parts])
    whole = nn.Linear(weight.shape[1], len(weight), bias=parts[0].bias is not None, device="meta")
    whole.weight = nn.Parameter(weight, requires_grad=False)
    if parts[0].bias is not None:
        whole.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
    return whole.train(module.training)


def parted(weights: Mapping[str, torch.Tensor], family: Family | EncoderFree) -> dict[str, torch.Tensor]:
    """Weights of a file by the names of parts, where they stand there by the name of the whole."""
    ends = {f".{path}.{end}": (path, names, end) for path, names in family.fused.items() for end in ENDS}
    tensors = {}
    for name, tensor in weights.items():
        known = next((end for end in ends if name.endswith(end)), None)
        path, names, end = ends[known] if known else ("", (), "")
        if not names or not tensor.ndim or len(tensor) % len(names):
            tensors[name] = tensor
            continue
        stem = name.removesuffix(f"{path}.{end}")
        tensors |= {f"{stem}{path}.{part}.{end}": chunk for part, chunk in zip(names, tensor.chunk(len(names)), strict=True)}
    return tensors


def unparted(weights: Mapping[str, torch.Tensor], family: Family | EncoderFree) -> dict[str, torch.Tensor]:
    """Weights of a model by the family's own names: parts that a file can hold as one stand behind one another."""
    tensors = dict(weights)
    for path, names in family.fused.items():
        for end in ENDS:
            for name in [name for name in weights if name.endswith(f".{path}.{names[0]}.{end}")]:
                stem = name.removesuffix(f"{names[0]}.{end}")
                parts = [tensors.get(f"{stem}{part}.{end}") for part in names]
                present = [part for part in parts if part is not None]
                if len(present) == len(names) and len({part.shape for part in present}) == 1:
                    for part in names:
                        del tensors[f"{stem}{part}.{end}"]
                    tensors[f"{stem}{end}"] = torch.cat(present)
    return tensors
