"""Load a model, checking everything that is read."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InputError, cut, first_line, raise_together
from compress.log import libraries_silenced
from compress.models.activation import state_activation
from compress.models.checkpoint.configuration import CONFIG, PrunedHeads, configuration, read_configuration
from compress.models.checkpoint.foreign import (
    head_architecture,
    refuse_configuration,
    refuse_names,
    refuse_parts,
    tells_masked_words,
)
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.checkpoint.labels import activation_in_folder, in_order, settle_labels, without_head
from compress.models.checkpoint.model_source import find_model
from compress.models.checkpoint.pair import OF_A_DECODER, is_pair, parts_of, settle_writer, unpaired
from compress.models.checkpoint.saving import STRUCTURE
from compress.models.checkpoint.sentence_folder import encoder_folder, is_embedder, projection_weights, read_pooling
from compress.models.checkpoint.tokenizer import read_tokenizer
from compress.models.checkpoint.weights import read_weights, renamed, unwrapped
from compress.models.embedder import set_pooling
from compress.models.families import KNOWN, known_family
from compress.models.families.family import DECODER, EncoderFree, Family
from compress.models.fused import new_model
from compress.models.head import MASKED, OF_SENTENCES, OF_TOKENS, Head, head_named
from compress.models.heads import head_of
from compress.models.layout import encoder_layers, head_count, head_size, neuron_count
from compress.models.memory import begin_anew, give_memory, shapes_of
from compress.models.sharing import tied_parameters
from compress.models.structure import apply_structure, finish_structure, told_by_structure
from compress.models.traits.layers import resize

logger = logging.getLogger(__name__)

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
SMALL_HEAD = 1 << 20  # weights that a new head may always have
Weights = Mapping[str, torch.Tensor]


def load(
    name: str | Path,
    *,
    labels: Sequence[str] | None = None,
    head: Head | None = None,
    seed: int = 13,
    new_head: bool = False,
) -> PreTrainedModel:
    """Load a classifier of a known family (BERT, ModernBERT, ...), or a model without a head, which then gets a new one.

    Switches in config.json that say how someone ran the model (`return_dict`, `output_attentions`, `torch_dtype` and the like)
    are set to the same for everyone. Nothing that a folder claims asks for more memory than its weights have.

    Args:
        name: A folder, `package:NAME`, or a hub name.
        labels: The task's label names in the order of their ids. A checkpoint with a head must have as many, and its outputs
            are put into this order where their names tell it (or are mere numbers); a head for other labels keeps its names.
            A new head is made for them (without them, for two labels).
        head: What the task needs (`task.rules.head`); None takes the head that there is, or makes one for labels of a text. A
            folder of sentence-transformers, without `labels`, is an embedder, and a `...ForMaskedLM` tells masked words.
        seed: For the weights of a new head.
        new_head: Leave the checkpoint's head, if it has one, and make a new one.

    Returns:
        The model in evaluation mode, float32, with `.tokenizer`, `.label` (a short name) and `.has_new_head`.

    Raises:
        InputError: No such model, or one of its files is missing, damaged or does not fit the others.
    """
    given = find_model(name)
    folder = encoder_folder(given)
    values, stored = read_checkpoint(folder)
    if head is None and labels is None and is_embedder(given):
        head = OF_SENTENCES
    family = KNOWN[values["model_type"]]
    if head is None and labels is None and tells_masked_words(values, stored, family):
        head = OF_TOKENS[MASKED]
    if new_head:
        stored = without_head(stored)
    architecture = head_architecture(folder, values, stored, family, head)
    if architecture == OF_SENTENCES.architecture:
        stored |= projection_weights(given)
    weights = renamed(stored, family, architecture)
    last = f"{family.last(architecture)}.weight"
    of_pieces = head_named(architecture).of_pieces
    has_head = last in weights or architecture == OF_SENTENCES.architecture
    if of_pieces and isinstance(family, Family):  # whose last Linear is the word table, so that files leave it out
        has_head = family.has_masked_head(weights, tied=values.get("tie_word_embeddings") is True)
    outputs = None if head_named(architecture).writes or of_pieces else weights.get(last)
    config, pruned = configuration(folder, values, family, _label_count(outputs))
    if new_head:
        config.problem_type = None
    activation = None if new_head else activation_in_folder(folder, values)
    if activation is not None:
        state_activation(config, activation)
    settle_labels(config, outputs, labels, folder, head, architecture)
    config._attn_implementation = "sdpa"
    if DECODER in values:
        config.decoder = _decoder_configuration(folder, values[DECODER], family)
    if architecture == OF_SENTENCES.architecture and isinstance(family, Family):
        set_pooling(config, read_pooling(given, config.hidden_size))
    model = _without_memory(family.classes[architecture], config, weights, folder, pruned)
    weights = _once(weights, model) if of_pieces else weights
    _check_weights(model, weights, folder, has_head=has_head)
    model = _with_memory(model, weights, folder, pruned, seed)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    model.tokenizer = read_tokenizer(folder, config)
    if head_of(model).writes:
        settle_writer(model, folder, read_configuration(folder), config.decoder)
    model.label = Path(str(name).removeprefix("package:")).name
    model.has_new_head = not has_head
    if of_pieces and not has_head:
        logger.info(
            "%s has no head for masked words; it gets a new one, tied to its word table, which fine_tune trains.", folder
        )
    return model.eval() if labels is None else in_order(model.eval(), labels)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what config.json holds, and the weights by their names without what they were wrapped in.

    Raises:
        InputError: The folder holds no whole model of a family here.
    """
    refuse_parts(folder)
    given = read_configuration(folder)
    values = unpaired(folder, given)
    if values.get("model_type") is not None:
        refuse_configuration(folder, values)
    weights = read_weights(folder, values)
    refuse_names(folder, weights)
    refuse_configuration(folder, values, weights)
    family = KNOWN[values["model_type"]]
    if is_pair(given):
        return values, parts_of(folder, weights, family, values[DECODER])
    return values, unwrapped(weights, family, folder)


def _decoder_configuration(folder: Path, values: dict[str, Any], family: Family | EncoderFree) -> PretrainedConfig:
    config, _ = configuration(folder, values, family, 2)
    for key, value in OF_A_DECODER.items():
        setattr(config, key, value)
    config._attn_implementation = "sdpa"
    return config


def _once(weights: Weights, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights by the first name of those that a model ties: what a file says under the other names counts for nothing where
    the first one is there, as in transformers."""
    once = dict(weights)
    for name, known in tied_parameters(model).items():
        tensor = once.pop(name, None)
        if tensor is not None:
            once.setdefault(known, tensor)
    return once


def _label_count(head: torch.Tensor | None) -> int:
    return head.shape[0] if head is not None and head.ndim else 2


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _give_shapes(model: PreTrainedModel, folder: Path, pruned: PrunedHeads, most: int) -> None:
    """Give a freshly built model the widths of structure.json, or the heads that transformers 4 has left."""
    structure = _structure(folder)
    if pruned and structure is not None:
        raise InputError(
            f"{folder / 'config.json'} has pruned_heads, but {STRUCTURE} tells the shapes; remove the one that does not "
            "belong to these weights."
        )
    for index, gone in pruned.items():
        layer = encoder_layers(model)[index]
        resize(layer, head_count(layer) - len(gone), head_size(layer), neuron_count(layer))
    if structure is not None:
        try:
            apply_structure(model, structure, most=most)
        except InputError as err:
            raise InputError(f"{folder}: {err}") from err


def _structure(folder: Path) -> dict[str, Any] | None:
    """What structure.json holds; None where there is none."""
    why = why_absent(folder / STRUCTURE)
    if why not in (None, "is missing"):
        raise InputError(f"{folder / STRUCTURE} {why}; restore it from where the model was saved.")
    return read_object(folder / STRUCTURE, finite=False) if why is None else None


def _without_memory(
    kind: type[PreTrainedModel], config: PretrainedConfig, weights: Weights, folder: Path, pruned: PrunedHeads
) -> PreTrainedModel:
    """The model's shapes alone, so that absurd sizes are refused before memory is asked for."""
    family = KNOWN[config.model_type]
    distinct = family.distinct_layers if isinstance(family, Family) else ()
    distinct = (*distinct, *(key for key in ("num_feedforward_networks",) if hasattr(config, key)))
    layers = math.prod(getattr(config, key) for key in distinct)
    if layers > len(weights):
        raise InputError(
            f"{folder / CONFIG}: {' x '.join(distinct)} is {layers}, but there are only {len(weights)} "
            "weights; restore the original file."
        )
    try:
        model = shapes_of(kind, config)
    except Exception as err:
        raise InputError(
            f"{folder / CONFIG} is no {config.model_type} configuration: {first_line(err)}. Restore the original file."
        ) from err
    _give_shapes(model, folder, pruned, _size(weights))
    return model


def _size(weights: Weights) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def _with_memory(model: PreTrainedModel, weights: Weights, folder: Path, pruned: PrunedHeads, seed: int) -> PreTrainedModel:
    """The same model with memory for its weights; those that the file does not have are a new model's."""
    left_out = told_by_structure(model)
    missing = {name for name in model.state_dict() if name not in weights and name not in left_out}
    structure = _structure(folder)
    with _seeded(seed), libraries_silenced():
        if missing and structure is None and not pruned:
            return new_model(type(model), model.config)  # which draws all weights, so that a head is the same as ever
        give_memory(model)
        begin_anew(model, missing)
    if structure is not None:
        finish_structure(model, structure)
    return model


def _check_weights(model: PreTrainedModel, weights: Weights, folder: Path, *, has_head: bool) -> None:
    left_out, head = told_by_structure(model), known_family(model).head_weights(head_of(model).architecture)
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in left_out}
    problems = [f"  {name} is missing" for name in expected if name not in weights and not name.startswith(head)]
    if has_head:
        problems += [f"  {name} is missing" for name in expected if name.startswith(head) and name not in weights]
    problems += [f"  {cut(repr(name)[1:-1])} is not expected" for name in weights if name not in expected]
    for name, tensor in weights.items():
        if name in expected and tensor.shape != expected[name].shape:
            problems.append(f"  {name} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}")
        elif tensor.dtype not in FLOATS:
            problems.append(f"  {name} is of type {tensor.dtype}, not a float")
        elif not torch.isfinite(tensor).all():
            problems.append(f"  {name} holds values that are not finite")
        elif tensor.dtype is torch.float64 and not torch.isfinite(tensor.float()).all():
            problems.append(f"  {name} holds values that are too large for float32")
    shown = problems[:10] + ([f"  and {len(problems) - 10} more"] if len(problems) > 10 else [])
    raise_together(shown, f"{folder}: the weights do not fit config.json; fetch or save the model again:")
    new = sum(tensor.numel() for name, tensor in expected.items() if name not in weights)
    if new > max(SMALL_HEAD, _size(weights)):
        raise InputError(
            f"{folder}: a new head would have {new} weights, more than the model ({_size(weights)}); restore the original "
            "config.json."
        )
