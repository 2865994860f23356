"""A network in the place of the word table, by its sizes; see `compress.models.spelled`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError, shown
from compress.models.factors import is_width
from compress.models.spelled import NETWORKS, set_spelled, spelled_of
from compress.models.traits.trait import Trait

NUMBERS = {"letters": ("longest",), "glyphs": ("longest", "pictures", "size", "channels")}


def _read(model: PreTrainedModel) -> dict[str, Any] | None:
    spelled = spelled_of(model)
    return spelled.sizes if spelled is not None else None


def _apply(model: PreTrainedModel, sizes: Any, most: int | None) -> None:
    if not isinstance(sizes, dict) or sizes.get("by") not in NETWORKS or not _is_right(sizes, most):
        raise InputError(f"structure.json: spelling is {shown(sizes)}, which no network can have; restore the file.")
    set_spelled(model, sizes)


def _is_right(sizes: dict[str, Any], most: int | None) -> bool:
    """Whether the sizes are whole numbers for which the weights can be there."""
    filters = sizes.get("filters", [[1, 1]])
    numbers = [sizes.get(name) for name in NUMBERS[sizes["by"]]]
    if sizes["by"] == "letters" and not (type(sizes.get("highways")) is int and 0 <= sizes["highways"] <= 1 << 5):
        return False
    pairs = isinstance(filters, list) and 0 < len(filters) < 1 << 8
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 and all(map(is_width, pair)) for pair in filters):
        return False
    widest = sum(count for _, count in filters)
    return all(map(is_width, numbers)) and (most is None or max(widest, *(number or 0 for number in numbers)) <= most)


TRAIT = Trait(
    key="spelling", read=_read, apply=_apply, made_by=("spell_words", "a network reads how the model's pieces are spelled")
)
