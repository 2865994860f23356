"""Layers that share their tensors: one parameter that stands in several modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def shared_parameters(model: nn.Module) -> dict[str, str]:
    """The names under which a parameter stands again, each with the name that it stands under first; one that transformers
    ties to another never comes first."""
    first: dict[int, str] = {}
    again = {}
    ties = getattr(model, "all_tied_weights_keys", None) or {}
    for name, parameter in sorted(model.named_parameters(remove_duplicate=False), key=lambda entry: entry[0] in ties):
        known = first.setdefault(id(parameter), name)
        if known != name:
            again[name] = known
    return again


def tied_parameters(model: Any) -> dict[str, str]:
    """Those of them that transformers ties whenever it makes such a model, such as a decoder's word table and its output."""
    ties = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: known for name, known in shared_parameters(model).items() if name in ties}


def share(model: nn.Module, again: Mapping[str, str]) -> None:
    """Let parameters be those of other names, in place."""
    for name, known in again.items():
        module, _, attribute = name.rpartition(".")
        holder, _, source = known.rpartition(".")
        setattr(model.get_submodule(module), attribute, getattr(model.get_submodule(holder), source))
