"""Adapters behind Linears, by the Linears' names; see `compress.models.adapters`."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.adapters import adapters_of, set_adapter
from compress.models.factors import LowRankLinear, is_width
from compress.models.traits.trait import Trait


def _apply(model: PreTrainedModel, sizes: Any, _: int | None) -> None:
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | LowRankLinear)}
    if not isinstance(sizes, dict) or not sizes.keys() <= linears or not all(is_width(size) for size in sizes.values()):
        raise InputError(
            "structure.json: adapters must give whole numbers above 0 to names of the model's Linears; restore the file."
        )
    for name, size in sizes.items():
        set_adapter(model, name, size)


TRAIT = Trait(key="adapters", read=adapters_of, apply=_apply, made_by=("fine_tune", "the model has adapters"))
