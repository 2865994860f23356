"""What config.json cannot say about a model, as structure.json tells it: a key for each of `compress.models.traits`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError, shown
from compress.models.traits import TRAITS, traits

SCHEMA = 1


def read_structure(model: PreTrainedModel) -> dict[str, Any]:
    """What structure.json tells of a model: `layers`, the widths of each, and what only some models have."""
    entries = {trait.key: trait.read(model) for trait in traits()}
    return {"schema": SCHEMA, **{key: value for key, value in entries.items() if value or key == "layers"}}


def told_by_structure(model: PreTrainedModel) -> set[str]:
    """Names of the tensors of the model's state that structure.json tells, so that the weights' file leaves them out."""
    return set().union(*(trait.left_out(model) for trait in traits()))


def refuse_untold(model: PreTrainedModel) -> None:
    """Raise InputError where a model has what structure.json does not tell, since it would answer otherwise."""
    for trait in traits():
        trait.refuse(model)


def apply_structure(model: PreTrainedModel, structure: dict[str, Any], *, most: int | None = None) -> None:
    """Give a freshly built model what `structure` tells, before its weights are loaded.

    Args:
        model: May have shapes without memory.
        structure: What `read_structure` has told.
        most: Numbers that the model's weights are; what it holds besides may be no larger. None: any size.

    Raises:
        InputError: The structure is malformed, tells what no trait reads, or describes another number of layers.
    """
    if not isinstance(structure, dict) or structure.get("schema") != SCHEMA or "layers" not in structure:
        raise InputError(
            f"structure.json does not describe this model: schema {SCHEMA} with layers is expected; save the model again with "
            "compress.save, or restore the file; without it a model may answer otherwise."
        )
    unknown = structure.keys() - TRAITS.keys() - {"schema"}
    if unknown:
        raise InputError(
            f"structure.json tells {shown(min(unknown))}, which nothing here reads (known: {', '.join(TRAITS)}); install the "
            "package whose method made the model, or a later version of this one."
        )
    for trait in traits():
        if trait.key in structure:
            trait.apply(model, structure[trait.key], most)


def finish_structure(model: PreTrainedModel, structure: dict[str, Any]) -> None:
    """Do what is left of `apply_structure` once a model that had shapes alone has memory."""
    for trait in traits():
        if trait.key in structure:
            trait.finish(model, structure[trait.key])
