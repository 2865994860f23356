"""Read the weights of a checkpoint by the names that they have in a classifier, whatever they were wrapped in."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from compress.errors import InputError, first_line, shown
from compress.models.checkpoint.foreign import refuse_no_weights
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.checkpoint.saving import WEIGHTS
from compress.models.families.family import EncoderFree, Family
from compress.models.fused import parted
from compress.models.head import SEQUENCE

INDEX = f"{WEIGHTS}.index.json"
WRAPPERS = frozenset(
    {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_ddp_module", "_model"}
)
"""Modules that torch.compile, DDP, FSDP, activation checkpointing and trainers put around others."""


def read_weights(folder: Path, values: Mapping[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """Every tensor of a model's safetensors, by the names in the file.

    Args:
        folder: Holds one file, or several and an index.
        values: What config.json holds, for messages.

    Raises:
        InputError: A file is missing, damaged, outside of the folder, or no safetensors.
    """
    files = _files(folder)
    for path in files:
        why = why_absent(path)
        if why is not None:
            refuse_no_weights(folder, values or {}, path.name if why == "is missing" else f"{path.name} (it {why})")
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            weights.update(load_file(path))
        except (SafetensorError, ValueError, KeyError, OSError, struct.error, MemoryError) as err:
            raise InputError(f"{path} is damaged or cut short ({first_line(err)}); fetch or save the model again.") from err
    return weights


def _files(folder: Path) -> list[Path]:
    """The file with the weights, or those that an index names; as in transformers, one file comes first."""
    index = folder / INDEX
    if why_absent(folder / WEIGHTS) is None or why_absent(index) is not None:
        return [folder / WEIGHTS]
    shards = read_object(index).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{index}: weight_map must name a file for each weight; restore the original file.")
    outside = [name for name in names if Path(name).name != name or name in (".", "..")]
    if outside:
        raise InputError(
            f"{index}: weight_map names {shown(outside[0])}, which is no file of this folder; restore the original file."
        )
    return [folder / name for name in sorted(set(names))]


def unwrapped(weights: Mapping[str, torch.Tensor], family: Family | EncoderFree, folder: Path) -> dict[str, torch.Tensor]:
    """Weights without the names of what a model was wrapped in when it was saved.

    Raises:
        InputError: They belong to several models, or to one of another family.
    """
    bare: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short in bare:
            raise InputError(
                f"{folder} holds {shown(short)} twice, with and without the name of a wrapper; save the model again."
            )
        bare[short] = tensor
    begins = sorted(_beginnings(bare, family))
    if len(begins) > 1:
        raise InputError(
            f"{folder} holds {len(begins)} models, under {', '.join(shown(begin) for begin in begins[:3])}; save the one that "
            "is "
            "meant by itself, with save_pretrained."
        )
    begin = begins[0] if begins else ""
    foreign = begin.rstrip(".").rpartition(".")[2]
    own = family.classifier.base_model_prefix
    if foreign != own and {foreign, foreign.replace("_", "-")} & CONFIG_MAPPING_NAMES.keys():
        raise InputError(
            f"{folder}: config.json says {family.config.model_type}, but the weights are those of a {foreign}, which computes "
            "otherwise; restore the original config.json, and start from a checkpoint of a family that is supported."
        )
    stripped = {name.removeprefix(begin): tensor for name, tensor in bare.items()}
    if len(stripped) < len(bare):
        raise InputError(
            f"{folder} holds weights of one name with {shown(begin)} before it and without; save the model again."
        )
    return stripped


def _beginnings(names: Iterable[str], family: Family | EncoderFree) -> set[str]:
    mark = family.mark
    own = family.prefix if isinstance(family, Family) else ""
    prefixes = {name.removesuffix(mark) for name in names if name == mark or name.endswith(f".{mark}")}
    return {begin.removesuffix(own) if own and f".{begin}".endswith(f".{own}") else begin for begin in prefixes}


def _as_here(
    weights: Mapping[str, torch.Tensor], written_as: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights by the names that they have here; see `Family.written_as`."""
    for name, tensor in weights.items():
        dotted = f".{name}"
        parts = [tensor]
        names = [dotted]
        for path, paths in written_as.items():
            if f".{path}." in dotted:
                parts = [chunk for part in parts for chunk in (part.chunk(len(paths)) if part.ndim else [part] * len(paths))]
                names = [own.replace(f".{path}.", f".{here}.") for own in names for here in paths]
        yield from zip((own[1:] for own in names), parts, strict=False)


def renamed(
    weights: Mapping[str, torch.Tensor], family: Family | EncoderFree, architecture: str = SEQUENCE
) -> dict[str, torch.Tensor]:
    """Bring the names of base checkpoints and of old ones to those of a classifier; leave other heads out."""
    if isinstance(family, EncoderFree):
        return dict(weights)
    tensors = {}
    own = family.head_weights(architecture)
    others = tuple({*family.head, *family.unread} - set(own))
    for name, tensor in _as_here(weights, family.written_as):
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if name.startswith(("embeddings.", f"{family.layers.partition('.')[0]}.", *family.base_parts)):
            name = f"{family.prefix}{name}"
        if name.startswith(others):
            continue
        if name.startswith((family.prefix, *own)) and not name.endswith(("position_ids", "token_type_ids")):
            tensors[name] = tensor
    return parted(tensors, family)
