"""The width of the states between layers: which of its dimensions a model needs, and how the others go.

Every layer reads the states and adds to them, so that a dimension goes from the whole model: from the embeddings, from every
LayerNorm, from what each Linear reads or writes there, and from the head.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.families import family_of, why_not
from compress.models.heads import check_reads_whole, last_linear
from compress.models.layout import distinct_layers
from compress.models.structure import apply_structure, read_structure
from compress.models.surgery import copy_of
from compress.models.traits import why_not_cut
from compress.pruning.residual import coupled_places, fitting_heads, keep_channels, narrow


def refuse_width(model: PreTrainedModel) -> None:
    """Raise InputError where a model's width cannot be cut."""
    other = why_not(model, "gate_width")
    if other:
        raise InputError(other)
    check_reads_whole("cutting the width", model)
    why = why_not_cut(model, width=True)
    if why:
        raise InputError(why)


def state_norms(model: PreTrainedModel) -> list[Any]:
    """The LayerNorms that answer the states between the parts of layers, from the embeddings up."""
    family = family_of(model)
    paths = (family.attention_norm, family.output_norm)
    return [
        model.base_model.get_submodule(family.embeddings_norm),
        *(layer.get_submodule(path) for layer in distinct_layers(model) for path in paths),
    ]


@contextlib.contextmanager
def gated_width(model: PreTrainedModel, gates: torch.Tensor) -> Iterator[None]:
    """Multiply the states between the parts of layers, and what the classifier reads, by gates; gradients reach the gates.

    Each LayerNorm takes mean and variance of the dimensions whose gate is not 0, as it does when the others are cut away.

    Args:
        model: A BERT or DistilBERT; is left as it is.
        gates: (width,), none below 0.
    """
    with contextlib.ExitStack() as stack:
        for norm in state_norms(model):
            stack.callback(norm.register_forward_hook(_normed(gates)).remove)
        stack.callback(last_linear(model).register_forward_pre_hook(lambda _, inputs: inputs[0] * gates).remove)
        yield


def _normed(gates: torch.Tensor) -> Callable[[Any, tuple[torch.Tensor], torch.Tensor], torch.Tensor]:
    kept = (gates > 0).float()
    count = kept.sum().clamp(min=1)

    def hook(norm: Any, inputs: tuple[torch.Tensor], _: torch.Tensor) -> torch.Tensor:
        values = inputs[0].float() * kept
        centred = (values - values.sum(-1, keepdim=True) / count) * kept
        variance = centred.square().sum(-1, keepdim=True) / count
        normed: torch.Tensor = centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias
        return normed * gates

    return hook


@torch.no_grad()
def fold_width(model: PreTrainedModel, gates: torch.Tensor) -> PreTrainedModel:
    """Copy the model with the gates multiplied into its LayerNorms and its classifier; those of 0 want `keep_width` after it.

    Args:
        model: A BERT or DistilBERT; stays as it is.
        gates: (width,).
    """
    student: Any = copy_of(model)
    for norm in state_norms(student):
        norm.weight.mul_(gates)
        norm.bias.mul_(gates)
    last: Any = last_linear(student)
    last.weight.mul_(gates)
    return student


def keep_width(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy the model with these dimensions of its states only; heads and neurons stay as wide and as many.

    Args:
        model: A BERT or DistilBERT; stays as it is.
        keep: Their indices, rising, at least one. The pooler loses the same ones of what it answers, since its configuration
            knows one width.

    Raises:
        InputError: The indices do not fit, the model is of another family, or it quantizes.
    """
    refuse_width(model)
    width = model.config.hidden_size
    if not keep or any(later <= earlier for earlier, later in pairwise(keep)) or not all(0 <= index < width for index in keep):
        raise InputError(f"the dimensions {list(keep)} must rise within 0 to {width - 1}; name at least one, and each once.")
    student = copy_of(model)
    stream, pooled = coupled_places(student)
    kept = torch.tensor(keep, dtype=torch.long)
    narrow(student, stream, kept)
    keep_channels(pooled, kept)
    return student


def of_width(model: PreTrainedModel, width: int) -> PreTrainedModel:
    """Make a model of random weights that has the shape which cutting this one to a width leaves, pooler included.

    Args:
        model: Any whose width can be cut; stays as it is.
        width: Of the states, less than before.
    """
    config = copy.deepcopy(model.config)
    config.hidden_size, config.num_attention_heads = width, fitting_heads(config.num_attention_heads, width)
    with torch.random.fork_rng(devices=[]):
        student = type(model)(config)
        apply_structure(student, read_structure(model))
    student.tokenizer, student.label, student.has_new_head = copy.deepcopy(model.tokenizer), model.label, model.has_new_head
    return student.eval()
