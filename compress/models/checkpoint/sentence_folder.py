"""Folders of sentence-transformers: which modules stand behind the encoder, and what is written so that it reads ours.

Source: sentence-transformers 2.0 to 6.2, modules.json and the config.json of each module (Apache-2.0); older names of values
are written, which every version and Text Embeddings Inference read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from compress.errors import InputError, first_line, shown
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.embedder import ACTIVATIONS, POOLINGS, PROJECTIONS, Pooling, Projection, pooling_of, told_prompts
from compress.models.families import longest_text

logger = logging.getLogger(__name__)

MODULES, SETTINGS, LENGTHS = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
ENCODER, POOLING, DENSE, NORMALIZE, DROPOUT = "Transformer", "Pooling", "Dense", "Normalize", "Dropout"
KNOWN = (ENCODER, POOLING, DENSE, NORMALIZE, DROPOUT)
TYPES = "sentence_transformers.models"
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""What says that there is a pooling, in the order in which several stand one behind the other."""
MOST_MODULES = 16
Modules = list[tuple[str, Path]]


def modules_of(folder: Path) -> Modules | None:
    """What modules.json names, each with its folder; None where there is no such file.

    Raises:
        InputError: It is damaged, or names what the toolkit does not read.
    """
    path = folder / MODULES
    if why_absent(path) is not None:
        return None
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as err:
        raise InputError(f"{path} is no JSON ({first_line(err)}); restore the original file.") from err
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST_MODULES:
        raise InputError(f"{path} names no list of modules; restore the original file.")
    modules = [_module(path, entry) for entry in entries]
    if modules[0][0] != ENCODER:
        raise InputError(
            f"{path}: the first module is {shown(modules[0][0])}; only models whose first module is a {ENCODER} are read."
        )
    return modules


def _module(path: Path, entry: Any) -> tuple[str, Path]:
    kind = str(entry.get("type")).rpartition(".")[2] if isinstance(entry, dict) else ""
    place = entry.get("path") if isinstance(entry, dict) else None
    if kind not in KNOWN:
        raise InputError(f"{path} names a module {shown(kind or entry)}; those that are read: {', '.join(KNOWN)}.")
    if not isinstance(place, str) or Path(place).is_absolute() or ".." in Path(place).parts:
        raise InputError(f"{path}: the path of {kind} is {shown(place)}; a folder below this one is needed.")
    return kind, path.parent / place


def encoder_folder(folder: Path) -> Path:
    """The folder with the encoder's own files, which older folders have below the one that is given."""
    modules = modules_of(folder)
    return modules[0][1] if modules else folder


def is_embedder(folder: Path) -> bool:
    """Whether a folder is that of a sentence embedder."""
    return any(kind == POOLING for kind, _ in modules_of(folder) or ())


def read_pooling(folder: Path, width: int) -> Pooling:
    """Read what stands behind the encoder; the mean and a length of 1 where nothing tells.

    Args:
        folder: With modules.json or without.
        width: Of the encoder's states.

    Raises:
        InputError: Modules stand in another order than the toolkit computes them, or do not fit one another.
    """
    modules = modules_of(folder) or []
    kinds = [kind for kind, _ in modules if kind != DROPOUT]
    poolings = [place for kind, place in modules if kind == POOLING]
    names = _pooling_names(poolings[0], width) if poolings else ("mean",)
    dense = [_projection(place) for kind, place in modules if kind == DENSE]
    normalize = not modules or NORMALIZE in kinds
    expected = [ENCODER, POOLING, *[DENSE] * len(dense), *[NORMALIZE] * normalize]
    if modules and kinds != expected:
        raise InputError(
            f"{folder / MODULES} names {', '.join(kinds)}; read are {ENCODER}, {POOLING}, any number of {DENSE} and "
            f"{NORMALIZE} at the end, in this order."
        )
    before = len(names) * width
    for shape in dense:
        if shape.inputs != before:
            raise InputError(f"{folder}: a {DENSE} reads {shape.inputs} numbers, but gets {before}; restore its config.json.")
        before = shape.outputs
    pooling = Pooling(names, tuple(dense), normalize)
    return _with_settings(pooling, folder, poolings)


def _values_of(path: Path) -> dict[str, Any]:
    why = why_absent(path)
    if why is not None:
        raise InputError(f"{path} {why}; restore it from where the model was saved.")
    return read_object(path)


def _pooling_names(place: Path, width: int) -> tuple[str, ...]:
    path = place / CONFIG
    values = _values_of(path)
    mode = values.get("pooling_mode")
    names = [mode] if isinstance(mode, str) else mode
    if names is None:
        names = [name for flag, name in FLAGS.items() if values.get(flag)] or ["mean"]
    unknown = [name for name in names if name not in POOLINGS] if isinstance(names, list) else [names]
    if unknown or not names:
        raise InputError(f"{path}: pooling_mode is {shown(mode)}; allowed: {', '.join(POOLINGS)}.")
    size = values.get("embedding_dimension", values.get("word_embedding_dimension", width))
    if size != width:
        raise InputError(f"{path} is for states of width {shown(size)}, but the encoder's are {width}; restore the file.")
    return tuple(names)


def _projection(place: Path) -> Projection:
    path = place / CONFIG
    values = _values_of(path)
    reads, writes = (values.get(key) for key in ("in_features", "out_features"))
    if not (type(reads) is int and type(writes) is int and min(reads, writes) > 0):
        raise InputError(
            f"{path}: in_features and out_features are {shown([reads, writes])}; whole numbers above 0 are needed."
        )
    activation = str(values.get("activation_function") or "Identity").rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise InputError(f"{path}: activation_function is {shown(activation)}; read are {', '.join(ACTIVATIONS)}.")
    given = values.get("module_input_name", "sentence_embedding")
    if values.get("use_residual") or given != "sentence_embedding":
        raise InputError(f"{path} asks for a residual, or for another input than the sentence's vector, which is not read.")
    return Projection(reads, writes, bool(values.get("bias", True)), activation)


def _with_settings(pooling: Pooling, folder: Path, poolings: Sequence[Path]) -> Pooling:
    settings = read_object(folder / SETTINGS) if why_absent(folder / SETTINGS) is None else {}
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{folder / SETTINGS}: prompts is {shown(prompts)}; an object from names to texts is needed.")
    if default is not None and default not in prompts:
        raise InputError(f"{folder / SETTINGS}: default_prompt_name is {shown(default)}, which prompts does not name.")
    if any(prompts.values()) and any(read_object(place / CONFIG).get("include_prompt") is False for place in poolings):
        raise InputError(f"{folder}: its prompts are left out of the mean (include_prompt: false), which is not supported.")
    similarity = settings.get("similarity_fn_name")
    if similarity not in (None, "cosine") and not pooling.normalize:
        logger.warning("%s compares vectors by %s; the toolkit measures their cosines.", folder, similarity)
    lengths = read_object(folder / LENGTHS) if why_absent(folder / LENGTHS) is None else {}
    longest = lengths.get("max_seq_length")
    return replace(
        pooling, prompts=prompts, default_prompt=default, longest=longest if type(longest) is int and longest > 0 else None
    )


def prompts_in(folder: Path) -> dict[str, str]:
    """What a folder says that stands before a text, see `compress.models.embedder.told_prompts`."""
    return {} if modules_of(folder) is None else told_prompts(_with_settings(Pooling(), folder, ()))


def projection_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the projections, by the names that they have in an embedder.

    Raises:
        InputError: A file is missing or damaged.
    """
    weights: dict[str, torch.Tensor] = {}
    places = [place for kind, place in modules_of(folder) or () if kind == DENSE]
    for number, place in enumerate(places):
        path = place / WEIGHTS
        why = why_absent(path)
        if why is not None:
            raise InputError(f"{path} {why}; save the model again with sentence-transformers, whose weights are safetensors.")
        try:
            tensors = load_file(path)
        except (SafetensorError, ValueError, OSError) as err:
            raise InputError(f"{path} is damaged or cut short ({first_line(err)}); fetch the model again.") from err
        weights |= {f"{PROJECTIONS}.{number}.{name}": tensor for name, tensor in tensors.items()}
    return weights


def write_sentence_files(model: PreTrainedModel, folder: Path) -> None:
    """Write modules.json and the folder of each module behind the encoder, beside the encoder's own files."""
    pooling = pooling_of(model.config)
    modules = [(ENCODER, ""), (POOLING, f"1_{POOLING}")]
    width = model.config.hidden_size
    flags = {flag: name in pooling.pooling for flag, name in FLAGS.items()}
    _write(folder / modules[1][1] / CONFIG, {"word_embedding_dimension": width, **flags, "include_prompt": True})
    for number, shape in enumerate(pooling.projections):
        modules.append((DENSE, f"{len(modules)}_{DENSE}"))
        place = folder / modules[-1][1]
        activation = "torch.nn.modules.linear.Identity" if shape.activation == "Identity" else _torch_name(shape.activation)
        values = {"in_features": shape.inputs, "out_features": shape.outputs, "bias": shape.bias}
        _write(place / CONFIG, {**values, "activation_function": activation})
        state = model.get_submodule(f"{PROJECTIONS}.{number}").state_dict()
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, place / WEIGHTS)
    if pooling.normalize:
        modules.append((NORMALIZE, f"{len(modules)}_{NORMALIZE}"))
    entries = [
        {"idx": index, "name": str(index), "path": place, "type": f"{TYPES}.{kind}"}
        for index, (kind, place) in enumerate(modules)
    ]
    _write(folder / MODULES, entries)
    settings = {
        "prompts": dict(pooling.prompts),
        "default_prompt_name": pooling.default_prompt,
        "similarity_fn_name": "cosine",
    }
    _write(folder / SETTINGS, settings)
    longest = min(pooling.longest or longest_text(model.config), longest_text(model.config))
    _write(folder / LENGTHS, {"max_seq_length": longest, "do_lower_case": False})


def _torch_name(activation: str) -> str:
    return f"torch.nn.modules.activation.{activation}"


def _write(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
