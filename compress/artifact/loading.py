"""Load a model, checking everything that is read."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel

from compress.artifact.labels import in_order, settle_labels, without_head
from compress.artifact.places import find_model
from compress.artifact.saving import STRUCTURE, WEIGHTS
from compress.bert.families import KNOWN, Family, Plain, fitted_tokenizer
from compress.bert.layout import attention_of, encoder_layers, head_count, neuron_count
from compress.bert.structure import apply_structure, resize, told_by_structure
from compress.errors import InputError, raise_together
from compress.log import libraries_silenced

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MOST_RUNS = 1024  # of layers that share their weights, so that no number of weights bounds them
PrunedHeads = dict[int, set[int]]
TOKENIZERS = ("tokenizer.json", "vocab.txt")
CONVERT = (
    "convert it once with: python -c \"from transformers import AutoModelForSequenceClassification as M; "
    "M.from_pretrained('FOLDER').save_pretrained('FOLDER')\" on a machine where you trust the file"
)


def load(
    name: str | Path, *, labels: Sequence[str] | None = None, seed: int = 13, new_head: bool = False
) -> PreTrainedModel:
    """Load a classifier of the BERT family (BERT, DistilBERT, MobileBERT, ALBERT), or one without a head that then gets a new
    one.

    Args:
        name: A folder, `package:NAME`, or a hub name.
        labels: The task's label names in the order of their ids. A checkpoint with a head must have as many, and its outputs
            are put into this order where their names tell it (or are mere numbers); a head for other labels keeps its names.
            A new head is made for them (without them, for two labels).
        seed: For the weights of a new head.
        new_head: Leave the checkpoint's head, if it has one, and make a new one.

    Returns:
        The model in evaluation mode, float32, with `.tokenizer`, `.label` (a short name) and `.has_new_head`.

    Raises:
        InputError: No such model, or one of its files is missing, damaged or does not fit the others.
    """
    folder = find_model(name)
    config, pruned = _config(folder)
    family = KNOWN[config.model_type]
    weights = _renamed(read_weights(folder), family)
    weights = without_head(weights) if new_head else weights
    has_head = "classifier.weight" in weights
    settle_labels(config, weights, labels, folder)
    config._attn_implementation = "sdpa"
    _check_weights(_without_memory(config, weights, folder, pruned), weights, folder)
    with _seeded(seed), libraries_silenced():
        model = family.classifier(config)
    _give_shapes(model, folder, pruned)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    model.tokenizer = fitted_tokenizer(_tokenizer(folder, config), family)
    model.label = Path(str(name).removeprefix("package:")).name
    model.has_new_head = not has_head
    return model.eval() if labels is None else in_order(model.eval(), labels)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _config(folder: Path) -> tuple[PretrainedConfig, PrunedHeads]:
    """The configuration, and the heads that transformers 4 has pruned, which is no part of it any more."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} has no config.json; give the folder of a whole model.")
    values = _json(path)
    kind = values.get("model_type")
    if kind not in KNOWN:
        raise InputError(
            f"{path}: model_type is {kind!r}; allowed: {', '.join(KNOWN)}. Start from a checkpoint of one of these."
        )
    family = KNOWN[kind]
    told = values.pop("pruned_heads", None) or {}
    try:
        with libraries_silenced():
            config = family.config.from_dict(values)
        counts = {key: getattr(config, key) for key in family.counted}
    except Exception as err:
        raise InputError(f"{path} is no {kind} configuration: {_first_line(err)}. Restore the original file.") from err
    wrong = [f"{key}={value!r}" for key, value in counts.items() if type(value) is not int or not 0 < value < 1 << 24]
    if wrong:
        raise InputError(f"{path}: {', '.join(wrong)} must be a positive whole number; restore the original file.")
    width = getattr(config, family.attention_width) if isinstance(family, Family) else 0
    if isinstance(family, Family) and width % config.num_attention_heads:
        raise InputError(
            f"{path}: {family.attention_width} {width} is no multiple of num_attention_heads "
            f"{config.num_attention_heads}; restore the original file."
        )
    if kind == "albert" and not config.num_hidden_groups <= config.num_hidden_layers <= MOST_RUNS:
        raise InputError(
            f"{path}: num_hidden_layers is {config.num_hidden_layers}; {config.num_hidden_groups} (num_hidden_groups) to "
            f"{MOST_RUNS} are possible: restore the original file."
        )
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise InputError(f"{path}: a decoder or cross-attention is not supported; start from an encoder checkpoint.")
    return config, _pruned_heads(told, config, path) if told else {}


def _pruned_heads(told: Any, config: PretrainedConfig, path: Path) -> PrunedHeads:
    """The heads of each layer that a checkpoint of transformers 4 has lost, by the index of the layer."""
    family = KNOWN[config.model_type]
    layers, heads = (getattr(config, key, 0) for key in ("num_hidden_layers", "num_attention_heads"))
    if not isinstance(family, Family) or config.model_type == "albert":
        raise InputError(
            f"{path}: pruned_heads is {told!r}, but a {config.model_type} of transformers 4 does not tell in it which weights "
            "are left; load it there, and save it without pruned_heads."
        )
    found: PrunedHeads = {}
    for layer, gone in told.items() if isinstance(told, dict) else ():
        if layer.isdecimal() and int(layer) < layers and isinstance(gone, list) and all(type(one) is int for one in gone):
            found[int(layer)] = set(gone)
    if not isinstance(told, dict) or len(found) < len(told) or not all(gone <= set(range(heads)) for gone in found.values()):
        raise InputError(
            f"{path}: pruned_heads is {told!r}; layers from 0 to {layers - 1} with lists of heads from 0 to {heads - 1} are "
            "possible: restore the original file."
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise InputError(f"{path} is no JSON: {_first_line(err)}. Restore the original file.") from err
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror}.") from err
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, not an object; restore the original file.")
    return values


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model's safetensors, by the names in the file.

    Raises:
        InputError: A file is missing, damaged, or no safetensors.
    """
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        shards = _json(index).get("weight_map", {})
        names = sorted({str(file) for file in shards.values()}) if isinstance(shards, dict) else []
        files = [folder / Path(name).name for name in names]
    else:
        files = [folder / WEIGHTS]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        exported = sorted(path.name for path in folder.glob("*.onnx"))
        if exported:
            raise InputError(
                f"{folder} holds {exported[0]}, an exported file, which cannot be changed or quantized again; start from the "
                "torch model that it was made of."
            )
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        if pickled:
            raise InputError(f"{folder} has only {pickled[0]}, a pickle, which can run any code when loaded; {CONVERT}.")
        shown = ", ".join(path.name for path in missing) or WEIGHTS
        raise InputError(f"{folder} has no {shown}; give the folder of a whole model in safetensors format.")
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            weights.update(load_file(path))
        except (SafetensorError, ValueError, OSError, struct.error, MemoryError) as err:
            raise InputError(
                f"{path} is damaged or cut short ({_first_line(err)}); fetch or save the model again."
            ) from err
    return weights


def _renamed(weights: dict[str, torch.Tensor], family: Family | Plain) -> dict[str, torch.Tensor]:
    """Bring the names of base checkpoints and of old ones to those of a classifier; leave other heads out."""
    if isinstance(family, Plain):
        return weights
    renamed = {}
    for name, tensor in weights.items():
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if name.startswith(("embeddings.", f"{family.layers.partition('.')[0]}.", "pooler.")):
            name = f"{family.prefix}{name}"
        if name.startswith((family.prefix, *family.head)) and not name.endswith(("position_ids", "token_type_ids")):
            renamed[name] = tensor
    return renamed


def _give_shapes(model: PreTrainedModel, folder: Path, pruned: PrunedHeads) -> None:
    """Give a freshly built model the widths of structure.json, or the heads that transformers 4 has left."""
    path = folder / STRUCTURE
    if pruned and path.is_file():
        raise InputError(
            f"{folder / 'config.json'} has pruned_heads, but {STRUCTURE} tells the shapes; remove the one that does not "
            "belong to these weights."
        )
    for index, gone in pruned.items():
        layer = encoder_layers(model)[index]
        resize(layer, head_count(layer) - len(gone), attention_of(layer).attention_head_size, neuron_count(layer))
    if path.is_file():
        try:
            apply_structure(model, _json(path))
        except InputError as err:
            raise InputError(f"{folder}: {err}") from err


def _without_memory(
    config: PretrainedConfig, weights: dict[str, torch.Tensor], folder: Path, pruned: PrunedHeads
) -> PreTrainedModel:
    """The model's shapes alone, so that absurd sizes are refused before memory is asked for."""
    family = KNOWN[config.model_type]
    distinct = family.distinct_layers if isinstance(family, Family) else ()
    layers = math.prod(getattr(config, key) for key in distinct)
    if layers > len(weights):
        raise InputError(
            f"{folder / 'config.json'}: {' x '.join(distinct)} is {layers}, but there are only {len(weights)} "
            "weights; restore the original file."
        )
    try:
        with torch.device("meta"), libraries_silenced():
            model = family.classifier(config)
    except Exception as err:
        raise InputError(
            f"{folder / 'config.json'} is no {config.model_type} configuration: {_first_line(err)}. Restore the original file."
        ) from err
    _give_shapes(model, folder, pruned)
    return model


def _check_weights(model: PreTrainedModel, weights: dict[str, torch.Tensor], folder: Path) -> None:
    told, head = told_by_structure(model), KNOWN[model.config.model_type].head
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in told}
    problems = [f"  {name} is missing" for name in expected if name not in weights and not name.startswith(head)]
    if "classifier.weight" in weights:
        problems += [f"  {name} is missing" for name in expected if name.startswith(head) and name not in weights]
    problems += [f"  {name} is not expected" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name in expected and tensor.shape != expected[name].shape:
            problems.append(f"  {name} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}")
        elif tensor.dtype not in FLOATS:
            problems.append(f"  {name} is of type {tensor.dtype}, not a float")
        elif not torch.isfinite(tensor).all():
            problems.append(f"  {name} holds values that are not finite")
    shown = problems[:10] + ([f"  and {len(problems) - 10} more"] if len(problems) > 10 else [])
    raise_together(shown, f"{folder}: the weights do not fit config.json; fetch or save the model again:")


def _tokenizer(folder: Path, config: PretrainedConfig) -> Any:
    if not any((folder / name).is_file() for name in TOKENIZERS):  # transformers would make an empty one
        raise InputError(f"{folder} has no tokenizer that can be loaded (no file); add tokenizer.json or vocab.txt.")
    try:
        with libraries_silenced():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as err:
        raise InputError(
            f"{folder} has no tokenizer that can be loaded ({_first_line(err)}); add tokenizer.json or vocab.txt."
        ) from err
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{folder}: the tokenizer has no tokenizer.json; save it as a fast tokenizer.")
    if len(tokenizer) > config.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, but the model has {config.vocab_size} embeddings; "
            "use the tokenizer that the model was trained with."
        )
    return tokenizer


def _first_line(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return lines[0] if lines else type(err).__name__
