"""Low-rank adapters beside Linears, by the Linears' names; see `compress.models.lora`."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.adapters import lora_of, set_adapter
from compress.models.factors import is_width
from compress.models.traits.trait import Trait


def _apply(model: PreTrainedModel, ranks: Any, _: int | None) -> None:
    linears = {name for name, module in model.named_modules() if type(module) is nn.Linear}
    if not isinstance(ranks, dict) or not ranks.keys() <= linears or not all(is_width(rank) for rank in ranks.values()):
        raise InputError(
            "structure.json: lora must give whole numbers above 0 to names of the model's Linears; restore the file."
        )
    for name, rank in ranks.items():
        set_adapter(model, name, rank, beside=True)


TRAIT = Trait(key="lora", read=lora_of, apply=_apply, made_by=("fine_tune", "the model keeps low-rank matrices (lora)"))
