"""Whether the last layer answers a weighted sum of all; see `compress.models.layer_mix`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.layer_mix import mix_of, set_mix
from compress.models.traits.trait import Trait


def _read(model: PreTrainedModel) -> bool:
    return mix_of(model) is not None


def _apply(model: PreTrainedModel, mixes: Any, _: int | None) -> None:
    if mixes is not True:
        raise InputError("structure.json: layer_mix must be true where it stands; restore the file.")
    set_mix(model)


TRAIT = Trait(key="layer_mix", read=_read, apply=_apply, made_by=("fine_tune", "the model mixes its layers"))
