"""Layers that share their tensors: one parameter that stands in several modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from compress.bert.factors import embedding_rank, ranks_of
from compress.bert.long_attention import attention_kind
from compress.bert.quantizers import quantized_linears


def shared_parameters(model: nn.Module) -> dict[str, str]:
    """The names under which a parameter stands again, each with the name that it stands under first."""
    first: dict[int, str] = {}
    again = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            again[name] = known
    return again


def share(model: nn.Module, again: Mapping[str, str]) -> None:
    """Let parameters be those of other names, in place."""
    for name, known in again.items():
        module, _, attribute = name.rpartition(".")
        holder, _, source = known.rpartition(".")
        setattr(model.get_submodule(module), attribute, getattr(model.get_submodule(holder), source))


def why_not_cut(model: Any, *, width: bool = False) -> str | None:
    """Why rows and columns of a model's weights cannot be cut any more, and what to do: the end of a message, or None.

    Args:
        model: Any.
        width: Whether the word table would be cut as well.
    """
    if quantized_linears(model):
        return "the model quantizes; prune it before quantize_aware."
    if attention_kind(model):
        return "the model's attention is one for long inputs; prune it before swap_attention."
    if shared_parameters(model):
        return "layers of the model share their weights; prune it before share_layers."
    if ranks_of(model):
        return "the model has Linears of low rank; prune it before low_rank."
    if width and embedding_rank(model) is not None:
        return "the model's word table is factorized; prune it before factorize_embedding."
    return None
