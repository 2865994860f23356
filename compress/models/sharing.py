"""Layers that share their tensors: one parameter that stands in several modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from compress.models.attention.long_attention import attention_kind
from compress.models.factors import embedding_rank, ranks_of
from compress.models.quantizers import quantized_linears


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


AFTER: dict[str, tuple[Callable[[Any], Any], str]] = {
    "quantize_aware": (quantized_linears, "the model quantizes"),
    "swap_attention": (attention_kind, "the model's attention is one for long inputs"),
    "share_layers": (shared_parameters, "layers of the model share their weights"),
    "low_rank": (ranks_of, "the model has Linears of low rank"),
    "factorize_embedding": (embedding_rank, "the model's word table is factorized"),
}
"""For some methods what tells that one of them made a model, and in which words."""


def why_too_late(model: Any, do: str, *methods: str) -> str | None:
    """Which of these methods made the model before, and what to do: the end of a message, or None.

    Args:
        model: Any.
        do: What had to come first: "prune it".
        methods: Keys of AFTER.
    """
    found = (f"{AFTER[method][1]}; {do} before {method}." for method in methods if AFTER[method][0](model))
    return next(found, None)


def why_not_cut(model: Any, *, width: bool = False, do: str = "prune it") -> str | None:
    """Why rows and columns of a model's weights cannot be cut any more: the end of a message, or None.

    Args:
        model: Any.
        width: Whether the word table would be cut as well.
        do: See `why_too_late`.
    """
    steps = ("quantize_aware", "swap_attention", "share_layers", "low_rank")
    return why_too_late(model, do, *steps, *(["factorize_embedding"] if width else []))
