"""Linears of low rank, by their names; see `compress.models.factors`."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.factors import is_width, ranks_of, set_rank
from compress.models.traits.trait import Trait


def _apply(model: PreTrainedModel, ranks: Any, _: int | None) -> None:
    linears = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    if not isinstance(ranks, dict) or not ranks.keys() <= linears or not all(is_width(rank) for rank in ranks.values()):
        raise InputError(
            "structure.json: ranks must give whole numbers above 0 to names of the model's Linears; restore the file."
        )
    for name, rank in ranks.items():
        set_rank(model, name, rank)


TRAIT = Trait(key="ranks", read=ranks_of, apply=_apply, made_by=("low_rank", "the model has Linears of low rank"))
