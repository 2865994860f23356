"""A word table in two factors, by the columns of the first; see `compress.models.factors`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.factors import embedding_rank, is_width, set_embedding_rank
from compress.models.families import family_of
from compress.models.traits.trait import Trait


def _apply(model: PreTrainedModel, rank: Any, _: int | None) -> None:
    if not is_width(rank):
        raise InputError(f"structure.json: embedding is {rank!r}, not a whole number above 0; restore the file.")
    family_of(model)
    set_embedding_rank(model, rank)


TRAIT = Trait(
    key="embedding",
    read=embedding_rank,
    apply=_apply,
    made_by=("factorize_embedding", "the model's word table is factorized"),
)
