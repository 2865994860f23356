"""Scale what a pruned model's heads and neurons answer, so that it goes on as a less pruned one does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.log import Progress, no_progress
from compress.models.families import family_of
from compress.models.first_token import first_token_only
from compress.models.layout import encoder_layers, head_size
from compress.pruning.gates import gated, open_gates
from compress.training.batches import sorted_batches
from compress.training.predict import BATCH_SIZE, on_device

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded

logger = logging.getLogger(__name__)

DAMPING = 1.0  # the code's
LARGEST_SCALE = 10.0  # the code's; scales beyond it tell that the equations are nearly singular

Scales = tuple[list[torch.Tensor], list[torch.Tensor]]


@dataclass
class _Stream:
    """The batches on their way through a model's layers.

    Args:
        layers: The model's.
        states: What the next layer reads, for each batch, (batch, length, width).
        options: What else each layer is called with, for each batch.
        masks: (batch, length), true for tokens.
    """

    layers: list[Any]
    states: list[torch.Tensor]
    options: list[list[tuple[tuple[Any, ...], dict[str, Any]]]]
    masks: list[torch.Tensor]

    def through(self, index: int, number: int) -> torch.Tensor:
        """What the layer answers to a batch."""
        args, options = self.options[number][index]
        output = self.layers[index](self.states[number], *args, **options)
        answer: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return answer

    def tokens(self, values: torch.Tensor, number: int) -> torch.Tensor:
        """The rows of a batch's values that are no padding, (tokens, width); of the last layer often the first ones alone."""
        return values[self.masks[number][:, : values.shape[1]]]


@torch.no_grad()
def fitted_scales(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    encoded: Encoded,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Scales:
    """Gates for the student's heads and neurons with which each part of a layer, its input added, answers most as the
    teacher's does.

    Layer by layer, the scales are those of least squares around 1, with every token that is no padding. The states that a
    layer reads are those of the student as scaled so far. The attention of the first layer stays as it is, and scaling ends
    where a scale leaves [-10, 10]. Of the last layer, only the first token counts where the classifier reads no other.

    Source: Kwon et al. 2022, arXiv 2204.09656, section 4.3.
    Differs: the equations are solved directly (by Cholesky) with a ridge of 1, where the code runs LSMR, damped by 1, on
    the normal equations.

    Args:
        student: Pruned; in evaluation mode, on the device. None of its layers is shared. Stays as it is.
        teacher: A model of as many layers of the same width.
        encoded: Examples to read.
        device: Where both are.
        progress: Told after each layer.

    Returns:
        (scales of heads, scales of neurons) for each layer.
    """
    family = family_of(student)
    heads, neurons = open_gates(student)
    batches = [on_device(encoded.batch(indices), device) for indices in sorted_batches(encoded.lengths, BATCH_SIZE)]
    with first_token_only(student), first_token_only(teacher):
        own, reference = _begun(student, batches), _begun(teacher, batches)
        for index, layer in enumerate(own.layers):
            wanted = _inputs_of_teacher(reference, index, [reader for _, reader in family.sums])
            sizes = (head_size(layer), 1)
            for gates, (linear, reader), size in zip((heads, neurons), family.sums, sizes, strict=True):
                if (gates is heads and not index) or not len(gates[index]):
                    continue
                with gated(student, heads, neurons):
                    scales = _fitted(own, index, linear, reader, wanted[reader], size)
                if not bool((scales.abs() <= LARGEST_SCALE).all()):
                    logger.info(
                        "scaling ends at layer %d of %d, where a scale is %.3g",
                        index,
                        len(own.layers),
                        float(scales.abs().max()),
                    )
                    return heads, neurons
                gates[index] = scales
            with gated(student, heads, neurons):
                own.states = [own.through(index, number) for number in range(len(batches))]
            progress("scale", index + 1, len(own.layers))
    return heads, neurons


def _begun(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]]) -> _Stream:
    """The batches where the model's first layer reads them."""
    stream = _Stream(encoder_layers(model), [], [], [batch["attention_mask"].bool() for batch in batches])

    def note(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        options = dict(options)
        states = args[0] if args else options.pop("hidden_states")
        if not stream.options[-1]:
            stream.states.append(states)
        stream.options[-1].append((args[1:], options))

    with contextlib.ExitStack() as stack:
        for layer in stream.layers:
            stack.callback(layer.register_forward_pre_hook(note, with_kwargs=True).remove)
        for batch in batches:
            stream.options.append([])
            model(**batch)
    return stream


def _inputs_of_teacher(reference: _Stream, index: int, readers: Sequence[str]) -> dict[str, list[torch.Tensor]]:
    """What these modules of the teacher's layer read of each batch, (tokens, width); its states go on to the next layer."""
    inputs: dict[str, list[torch.Tensor]] = {reader: [] for reader in readers}
    for number in range(len(reference.states)):
        with _inputs(reference.layers[index], readers) as seen:
            reference.states[number] = reference.through(index, number)
        for reader in readers:
            inputs[reader].append(reference.tokens(seen[reader], number))
    return inputs


def _fitted(own: _Stream, index: int, linear: str, reader: str, wanted: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """Scales of one Linear's input, a scale for `size` columns, with which the module behind the sum reads most nearly what is
    wanted.

    With A the answers of each column and r what is missing at scales of 1, the scales are 1 + (A'A + damping)^-1 A'r.
    """
    weight = own.layers[index].get_submodule(linear).weight  # (width, columns)
    count = weight.shape[1]
    products = torch.zeros(count, count, dtype=torch.float64, device=weight.device)
    missing = torch.zeros(count, dtype=torch.float64, device=weight.device)
    for number in range(len(own.states)):
        with _inputs(own.layers[index], (linear, reader)) as seen:
            own.through(index, number)
        read = own.tokens(seen[linear], number)  # (tokens, columns)
        products += read.T @ read
        missing += ((wanted[number] - own.tokens(seen[reader], number)) @ weight * read).sum(0)
    products *= weight.T @ weight
    products = products.view(count // size, size, count // size, size).sum((1, 3))
    missing = missing.view(-1, size).sum(1)
    products.diagonal().add_(DAMPING)
    return (1 + torch.linalg.solve(products, missing)).to(weight.dtype)


@contextlib.contextmanager
def _inputs(layer: Any, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect what these modules of a layer read in the pass inside, gates multiplied in; by no name its answer."""
    collected: dict[str, torch.Tensor] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            if not name:
                stack.callback(layer.register_forward_hook(lambda _, __, answer: collected.update({"": answer})).remove)
                continue

            def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                collected[name] = inputs[0]

            stack.callback(layer.get_submodule(name).register_forward_pre_hook(keep).remove)
        yield collected
