"""Linears that stand for several, as one for query, key and value: taken apart in a model, one again in saved weights.

Everything that cuts, scores or quantizes a layer works on Linears of one purpose each. Saved weights keep the family's own
names, so that transformers loads them. An exported graph multiplies by each part: products read the same input, and nothing
is split that was one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.models.families import KNOWN, known_family
from compress.models.families.family import EncoderFree, Family

ENDS = ("weight", "bias")


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
                layer.set_submodule(path, nn.ModuleDict(dict(zip(names, _parts(whole, len(names)), strict=True))))
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
