"""Adapters at rest: what `fine_tune` with adapters, or of a head alone, has learned, without the model that it was put into.

A folder has adapters.safetensors, the adapters, the normalizations of the layers and the head; and adapters.json, which tells
their sizes, the labels, and a hash of all that stayed, so that they are put into no other model. A task then takes a few MB,
and any number of them share one model.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.marks import read_own
from compress.models.adapters import LINEAR, adapters_of, learned_with_adapters, lora_of, set_adapter, without_adapters
from compress.models.checkpoint.folders import new_folder
from compress.models.factors import is_width
from compress.models.heads import head_of, label_names, with_new_head
from compress.models.layer_mix import mix_of
from compress.models.layout import behind_encoder
from compress.models.surgery import copy_of

TENSORS, DESCRIPTION, SCHEMA = "adapters.safetensors", "adapters.json", 1


def save_adapters(model: PreTrainedModel, folder: str | Path) -> Path:
    """Write a model's adapters alone, with what learned beside them; of one without adapters its head; all of it or nothing.

    Args:
        model: Learned with `train: adapters`, `train: {lora: {keep: true}}` or `train: head`.
        folder: Where to; it must not exist yet, or be empty.

    Raises:
        InputError: The model has neither adapters nor a head of its own, or mixes its layers, or the folder holds something.
    """
    sizes = adapters_of(model)
    if not behind_encoder(model) or mix_of(model) is not None:
        why = "mixes its layers" if mix_of(model) is not None else "has no weights behind its encoder"
        raise InputError(f"the model {why}, so that no adapters or head stand for what it learned; use compress.save.")
    learned, stays = _parts(model)
    description = {
        "schema": SCHEMA,
        "family": model.config.model_type,
        "architecture": head_of(model).architecture,
        "labels": label_names(model),
        "sizes": sizes,
        **({"ranks": ranks} if (ranks := lora_of(model)) else {}),
        "base": stays,
    }
    with new_folder(folder, "adapters") as partial:
        save_file(learned, partial / TENSORS, metadata={"format": "pt"})
        (partial / DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Path(folder)


def load_adapters(model: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """Copy a model with adapters from a folder, and the head and the normalizations that they learned with.

    Args:
        model: What they were put into, with any head of the same kind, and with others' adapters or none; stays as it is.
        folder: Of `save_adapters`.

    Raises:
        InputError: The folder holds no adapters, or a damaged one does, or they are of another model.
    """
    adapted, description, tensors = _shaped(model, Path(folder))
    own, stays = _parts(adapted)
    if stays != description["base"]:
        raise InputError(f"{folder}: these are adapters of other weights than the model's; load the one they were put into.")
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in tensors.items()}:
        raise _damaged(Path(folder))
    adapted.load_state_dict(tensors, strict=False)
    return adapted.eval()


def check_adapters(model: PreTrainedModel, folder: str | Path) -> None:
    """Raise InputError where a folder holds no adapters for a model of this shape, whatever its weights."""
    _shaped(model, Path(folder))


def _shaped(model: PreTrainedModel, folder: Path) -> tuple[PreTrainedModel, dict[str, Any], dict[str, torch.Tensor]]:
    """A copy of a model with adapters as a folder describes them, and what that holds."""
    description, tensors = _read(folder)
    of = f"of {description['family']} for {description['architecture']}"
    if (model.config.model_type, head_of(model).architecture) != (description["family"], description["architecture"]):
        is_one = f"{model.config.model_type} for {head_of(model).architecture}"
        raise InputError(
            f"{folder}: these are adapters {of}, but the model is {is_one}; load the one that they were put into."
        )
    named = description["labels"] and label_names(model) != description["labels"]
    adapted = without_adapters(with_new_head(model, description["labels"], 0, head_of(model)) if named else copy_of(model))
    linears = {name for name, module in adapted.named_modules() if isinstance(module, nn.Linear)}
    ranks = description.get("ranks", {})
    if not (description["sizes"].keys() | ranks.keys()) <= linears:
        raise InputError(f"{folder}: these are adapters of a model with other layers; load the one that they were put into.")
    for name, size in description["sizes"].items():
        set_adapter(adapted, name, size)
    for name, rank in ranks.items():
        set_adapter(adapted, name, rank, beside=True)
    return adapted, description, tensors


def _parts(model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], str]:
    """What learns with adapters, by name; and a hash of the rest."""
    learning = set(learned_with_adapters(model))
    total, learned = hashlib.blake2b(digest_size=12), {}
    for name, tensor in model.state_dict().items():
        if name in learning:
            learned[name] = tensor.detach().cpu().contiguous().clone()
        else:
            total.update(f"{name.replace(f'.{LINEAR}.', '.')}{tuple(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return learned, total.hexdigest()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not (folder / DESCRIPTION).is_file():
        raise InputError(f"{folder} holds no adapters: {DESCRIPTION} is missing; name a folder of compress.save_adapters.")
    description = read_own(folder / DESCRIPTION) or {}
    sizes, ranks, labels = description.get("sizes"), description.get("ranks", {}), description.get("labels")
    texts = [description.get(key) for key in ("family", "architecture", "base")]
    if description.get("schema") != SCHEMA or not isinstance(sizes, dict) or not isinstance(labels, list):
        raise _damaged(folder)
    if not isinstance(ranks, dict) or not ranks.keys().isdisjoint(sizes):
        raise _damaged(folder)
    if not all(map(is_width, (*sizes.values(), *ranks.values()))) or not all(
        isinstance(text, str) for text in (*texts, *labels)
    ):
        raise _damaged(folder)
    try:
        return description, load_file(folder / TENSORS)
    except (OSError, SafetensorError):
        raise _damaged(folder) from None


def _damaged(folder: Path) -> InputError:
    return InputError(f"{folder}: its adapters are damaged, or of another version of this package; save them again.")
