"""Write a model to a folder that anyone can load."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from compress.models.checkpoint.companions import write_companions
from compress.models.checkpoint.folders import new_folder
from compress.models.checkpoint.pair import names_in_file
from compress.models.embedder import PROJECTIONS
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.fused import unparted
from compress.models.heads import head_of
from compress.models.structure import read_structure, refuse_untold, told_by_structure

WEIGHTS, STRUCTURE = "model.safetensors", "structure.json"


def save(model: PreTrainedModel, folder: str | Path) -> Path:
    """Write config.json, model.safetensors, structure.json and the tokenizer's files; all of it or nothing.

    Args:
        model: A model with its tokenizer, as `load` and the methods give it.
        folder: Where to; it must not exist yet, or be empty.

    Raises:
        InputError: The folder holds something already, or the model quantizes in a way that a folder cannot tell.
        CompressError: The disk is full, or may not be written to.
    """
    with new_folder(folder, "model") as partial:
        write_model(model, partial)
    return Path(folder)


def write_model(model: PreTrainedModel, folder: Path) -> None:
    """Write the files of a model into a folder that exists."""
    refuse_untold(model)
    left_out = told_by_structure(model)
    state = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items() if name not in left_out
    }
    tensors = bare(unparted(state, known_family(model)), model)
    tensors = names_in_file(model, tensors) if head_of(model).writes else tensors
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.dtype = _precision(state.values())
    write_companions(model, folder)
    (folder / STRUCTURE).write_text(json.dumps(read_structure(model), indent=1) + "\n", encoding="utf-8")


def bare(state: dict[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights by the names that readers look for: of an embedder those of its encoder, as a base model has them."""
    family = known_family(model)
    if not head_of(model).gives_vectors or not isinstance(family, Family):
        return state
    return {
        name.removeprefix(family.prefix): tensor for name, tensor in state.items() if not name.startswith(f"{PROJECTIONS}.")
    }


def _precision(tensors: Iterable[torch.Tensor]) -> torch.dtype:
    """What config.json says of the weights' numbers: their type, or the one that holds them all."""
    kinds = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    return functools.reduce(torch.promote_types, kinds, next(iter(kinds), torch.float32))
