"""Heads on the way, and how sure they have to be; see `compress.models.exits`."""

from __future__ import annotations

from typing import Any, get_args

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.exits import Measure, exit_layers, exits_of, set_exits
from compress.models.traits.trait import Trait


def _read(model: PreTrainedModel) -> dict[str, Any] | None:
    """`layers`, counted from 0, `measure`, and the `thresholds` of each."""
    exits = exits_of(model)
    if exits is None:
        return None
    return {"layers": list(exits.layers), "measure": exits.measure, "thresholds": list(exits.thresholds)}


def _apply(model: PreTrainedModel, entry: Any, _: int | None) -> None:
    entry = entry if isinstance(entry, dict) else {}
    layers, measure, thresholds = (entry.get(key) for key in ("layers", "measure", "thresholds"))
    right = _are(layers, int) and _are(thresholds, float, int) and measure in get_args(Measure)
    if not right or len(layers) != len(thresholds) or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise InputError(
            "structure.json: exits must give the numbers of layers, a threshold from 0 to 1 for each, and measure "
            f"({', '.join(get_args(Measure))}); restore the file."
        )
    if layers != sorted(set(layers)) or layers[0] < 0:
        raise InputError("structure.json: exits.layers must rise from 0 or more; restore the file.")
    try:
        exit_layers(model, layers)
    except InputError as err:
        raise InputError(f"structure.json: exits do not fit the model: {err}") from err
    set_exits(model, layers, measure).thresholds = [float(threshold) for threshold in thresholds]


def _are(values: Any, *types: type) -> bool:
    return isinstance(values, list) and bool(values) and all(type(value) in types for value in values)


TRAIT = Trait(key="exits", read=_read, apply=_apply, made_by=("early_exit", "the model has exits"))
