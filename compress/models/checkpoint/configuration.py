"""Read config.json: what says how a model is made is checked, what says how someone ran it is set to one value for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.activations import ACT2FN

from compress.errors import InputError, first_line, shown
from compress.log import libraries_silenced
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.families import KNOWN
from compress.models.families.family import EncoderFree, Family

CONFIG = "config.json"
PrunedHeads = dict[int, set[int]]
RUN_TIME: dict[str, Any] = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "chunk_size_feed_forward": 0,
    "use_cache": True,
    "is_encoder_decoder": False,
    "sinusoidal_pos_embds": False,
}
"""Fields that change what a model answers with, how it computes the same, or how a table begins that the file has: each with
the value that it gets, whatever config.json says. Keys that are no field of the family's configuration say nothing of the
model (`torchscript`, `gradient_checkpointing`, `attn_implementation`, settings for generation); transformers would set them
all the same, over its own attributes as well, so they are left out."""
NOT_READ = ("num_labels", "torch_dtype", "dtype", "pruned_heads", "model_type")
"""Of the keys that transformers reads: the weights tell the first three, and the last two are read here."""
MUST_BE_FALSE = {
    "is_decoder": "a decoder",
    "add_cross_attention": "cross-attention",
    "is_causal": "attention to what stands before alone",
    "per_layer_config": "a configuration for each layer",
}
ACTIVATIONS = ("hidden_act", "activation", "hidden_activation")
OWN_WEIGHTS = ("prelu", "xielu")
"""Activations that learn, or that need a package of their own."""
LARGEST_RANGE = 10.0
MOST_NAMES = 4096  # of labels that the head does not have, which are read all the same


def configuration(
    folder: Path, values: Mapping[str, Any], family: Family | EncoderFree, labels: int
) -> tuple[PretrainedConfig, PrunedHeads]:
    """Make the configuration that config.json tells, and the heads that transformers 4 has pruned, which is no part of it any
    more.

    Args:
        folder: For messages.
        values: What config.json holds.
        family: The model's.
        labels: That the model tells apart, where config.json does not name them.

    Raises:
        InputError: A value is of the wrong type, or outside of what is possible.
    """
    path, kind = folder / CONFIG, family.config.model_type
    kept = _without_switches(path, values, family)
    names = kept.get("id2label")
    if names is None:
        kept |= {"id2label": None, "num_labels": labels}
    elif not isinstance(names, dict):
        raise InputError(f"{path}: id2label is {shown(names)}, no object from ids to names; restore the original file.")
    elif len(names) > max(labels, MOST_NAMES):
        kept["id2label"] = {str(index): names[str(index)] for index in range(labels) if str(index) in names}
    try:
        with libraries_silenced():
            config = family.config.from_dict(kept)
        counts = {key: getattr(config, key) for key in family.counted}
    except Exception as err:
        raise InputError(f"{path} is no {kind} configuration: {_cause(err)}. Restore the original file.") from err
    config.dtype = torch.float32
    _check_counts(path, config, family, counts)
    _check_values(path, config)
    entry = values.get("pruned_heads")
    return config, _pruned_heads(entry, config, path) if entry else {}


def read_configuration(folder: Path) -> dict[str, Any]:
    """Read config.json of a folder that has one."""
    path = folder / CONFIG
    why = why_absent(path)
    if why is not None:
        raise InputError(f"{path} {why}; give the folder of a whole model.")
    return read_object(path)


def _without_switches(path: Path, values: Mapping[str, Any], family: Family | EncoderFree) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(family.config)}
    names = {**family.config.attribute_map, **(family.told_as if isinstance(family, Family) else {})}
    for key, what in MUST_BE_FALSE.items():
        if values.get(key):
            raise InputError(
                f"{path}: {key} is {shown(values[key])}; {what} is not supported: start from an encoder checkpoint."
            )
    kind = values.get("position_embedding_type")
    if kind not in (None, "absolute"):
        raise InputError(
            f"{path}: position_embedding_type is {shown(kind)}; transformers 5 reads absolute positions alone, and so does "
            "this toolkit: start from a checkpoint that was trained with those."
        )
    kept: dict[str, Any] = {}
    for key, value in values.items():
        own = names.get(key, key)
        if (own not in fields and own not in family.other_keys) or own in NOT_READ:
            continue
        if own in kept and kept[own] != value:
            raise InputError(
                f"{path}: {key} is {shown(value)}, but {own}, the same by another name, is {shown(kept[own])}; keep one."
            )
        kept[own] = value
    return kept | {key: value for key, value in RUN_TIME.items() if key in fields}


def _cause(err: Exception) -> str:
    """What is wrong, in one line; transformers' checks put the field into the first and the cause into the next."""
    lines = [line.strip() for line in str(err).strip().splitlines() if line.strip()]
    return first_line(ValueError(" ".join(lines[:2]))) if lines else type(err).__name__


def _check_counts(path: Path, config: PretrainedConfig, family: Family | EncoderFree, counts: Mapping[str, Any]) -> None:
    wrong = [f"{key}={shown(value)}" for key, value in counts.items() if type(value) is not int or not 0 < value < 1 << 24]
    if wrong:
        raise InputError(f"{path}: {', '.join(wrong)} must be a positive whole number; restore the original file.")
    width = getattr(config, family.attention_width) if isinstance(family, Family) else 0
    if isinstance(family, Family) and width % config.num_attention_heads:
        raise InputError(
            f"{path}: {family.attention_width} {width} is no multiple of num_attention_heads "
            f"{config.num_attention_heads}; restore the original file."
        )
    problem = family.check(config)
    if problem:
        raise InputError(f"{path}: {problem}: restore the original file.")


def _check_values(path: Path, config: PretrainedConfig) -> None:
    """Check what transformers takes from everyone and what then fails, or answers nonsense, far from here."""
    for field in dataclasses.fields(config):
        key, value = field.name, getattr(config, field.name)
        allowed = None if value is None and field.default is None else _allowed(key, config.vocab_size)
        if allowed is not None and not _is_allowed(key, value, config.vocab_size):
            raise InputError(f"{path}: {key} is {shown(value)}; allowed: {allowed}. Restore the original file.")


def _allowed(key: str, vocab_size: int) -> str | None:
    """What values a key may have, in words; None where its type says enough."""
    if "dropout" in key:
        return "a number from 0 to 1"
    if key.endswith("_token_id"):
        return f"a whole number from 0 to {vocab_size - 1}, or null"
    known = {
        "layer_norm_eps": "a number above 0 and up to 1",
        "initializer_range": f"a number from 0 to {LARGEST_RANGE:g}",
        "normalization_type": "no_norm, layer_norm",
        "hidden_act": ", ".join(_activations()),
    }
    alike = "hidden_act" if key in ACTIVATIONS else "layer_norm_eps" if key == "norm_eps" else key
    return known.get(alike)


def _is_allowed(key: str, value: Any, vocab_size: int) -> bool:
    if key.endswith("_token_id"):
        ids = value if isinstance(value, list) else [value]
        return value is None or all(type(token_id) is int and 0 <= token_id < vocab_size for token_id in ids)
    if key in ACTIVATIONS:
        return isinstance(value, str) and value in _activations()
    if key == "normalization_type":
        return value in ("no_norm", "layer_norm")
    if type(value) not in (int, float):
        return False
    if key in ("layer_norm_eps", "norm_eps"):
        return 0 < value <= 1
    return 0 <= value <= (LARGEST_RANGE if key == "initializer_range" else 1)


def _activations() -> list[str]:
    return [name for name in ACT2FN if name not in OWN_WEIGHTS]


def _pruned_heads(entry: Any, config: PretrainedConfig, path: Path) -> PrunedHeads:
    """The heads of each layer that a checkpoint of transformers 4 has lost, by the index of the layer."""
    family = KNOWN[config.model_type]
    layers, heads = (getattr(config, key, 0) for key in ("num_hidden_layers", "num_attention_heads"))
    if not isinstance(family, Family) or not family.prunes_by_config:
        raise InputError(
            f"{path}: pruned_heads is {shown(entry)}, but a {config.model_type} of transformers 4 does not tell in it which "
            "weights "
            "are left; load it there, and save it without pruned_heads."
        )
    pruned: PrunedHeads = {}
    for layer, gone in entry.items() if isinstance(entry, dict) else ():
        index = int(layer) if layer.isdecimal() and len(layer) < 10 else layers
        if index < layers and isinstance(gone, list) and all(type(head) is int and 0 <= head < heads for head in gone):
            pruned[index] = set(gone)
    if not isinstance(entry, dict) or len(pruned) < len(entry):
        raise InputError(
            f"{path}: pruned_heads is {shown(entry)}; layers from 0 to {layers - 1} with lists of heads from 0 to {heads - 1} "
            "are "
            "possible: restore the original file."
        )
    return pruned
