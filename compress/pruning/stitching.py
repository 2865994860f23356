"""Every size of every part of a model, pruned ahead, and models put together of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.benchmark.block_times import LANES, LayerShape
from compress.log import Progress
from compress.models.families import family_of_layer
from compress.models.layout import (
    encoder_layers,
    head_count,
    head_size,
    neuron_count,
    reading_what_is_written,
    reads_first_token_only,
)
from compress.models.surgery import keep_heads, keep_layers, keep_neurons
from compress.pruning.obs import Inputs, Snapshot, snapshots
from compress.pruning.time_budget import DROPPED, Losses
from compress.tasks.encoding import answered_mask

FEWER = 0.9  # each number of neurons is so much of the one before
LEAST = 0.01  # of all, below which there are none
MANY = 64  # a layer of so many neurons keeps a multiple of what a vector register holds
Batches = Sequence[Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Parts:
    """A layer's output Linears in every size, by number of heads and of neurons."""

    heads: dict[int, Snapshot]
    neurons: dict[int, Snapshot]

    @property
    def losses(self) -> Losses:
        """What each size loses."""
        return Losses(*({count: snapshot.error for count, snapshot in sizes.items()} for sizes in (self.heads, self.neurons)))


def neuron_counts(neurons: int) -> list[int]:
    """The numbers of neurons that a feed-forward part may keep: all, ever a tenth fewer, and none."""
    step = LANES if neurons >= MANY else 1
    counts, wanted = [neurons], neurons * FEWER
    while neurons and wanted >= max(1.0, neurons * LEAST):
        counts.append(max(step, round(wanted / step) * step))
        wanted *= FEWER
    return sorted({*counts, 0})


def parts_of(model: PreTrainedModel, batches: Batches, progress: Progress) -> list[Parts]:
    """Prune each layer's heads and neurons, one after the other down to none, and keep what is left at each size.

    The inputs of all Linears are taken in one pass of the model as it is. Where the head reads the first token alone, the
    first tokens of the last layer count as much as all the others together.

    Args:
        model: Stays as it is.
        batches: What it reads; padding is left out.
        progress: Told after each layer.
    """
    seen, parts = _inputs(model, batches), []
    layers = encoder_layers(model)
    for index, layer in enumerate(layers):
        progress("prune", index, len(layers))
        family = family_of_layer(layer)
        heads, size = head_count(layer), head_size(layer)
        own = seen[index]
        parts.append(
            Parts(
                _sizes(layer.get_submodule(family.context), own[0], range(heads + 1), size),
                _sizes(layer.get_submodule(family.feed_forward[1]), own[1], neuron_counts(neuron_count(layer)), 1),
            )
        )
        seen[index] = (Inputs(0), Inputs(0))  # the sums of wide layers are large
    progress("prune", len(layers), len(layers))
    return parts


def _sizes(linear: nn.Module, inputs: Inputs, counts: Sequence[int], size: int) -> dict[int, Snapshot]:
    assert isinstance(linear, nn.Linear)
    if not linear.in_features:  # it is gone already, and nothing more is lost
        return {0: Snapshot((), linear.weight.detach(), linear.bias.detach(), 0.0)}
    return snapshots(linear.weight, linear.bias, inputs, counts=counts, size=size)


def _inputs(model: PreTrainedModel, batches: Batches) -> list[tuple[Inputs, Inputs]]:
    layers = encoder_layers(model)
    pairs = [
        [layer.get_submodule(path) for path in (family_of_layer(layer).context, family_of_layer(layer).feed_forward[1])]
        for layer in layers
    ]
    closing = pairs[-1] if reads_first_token_only(model) else []
    seen = inputs_of(model, batches, [linear for pair in pairs for linear in pair], first_counts=closing)
    return list(zip(seen[::2], seen[1::2], strict=True))


def inputs_of(
    model: PreTrainedModel, batches: Batches, linears: Sequence[Any], *, first_counts: Collection[Any] = ()
) -> list[Inputs]:
    """What Linears of a model are given at real tokens, in one pass.

    Args:
        model: Holds them.
        batches: What it reads; padding is left out.
        linears: Which.
        first_counts: Those of them for which first tokens count as much as all the others together.
    """
    collectors = [Inputs(linear.in_features) for linear in linears]
    kept: dict[str, torch.Tensor] = {}
    of_written = reading_what_is_written(model)
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for linear, inputs in zip(linears, collectors, strict=True):
            which = "written" if linear in of_written else "read"
            hook = _taking(inputs, kept, which, first_counts=any(linear is other for other in first_counts))
            stack.callback(linear.register_forward_pre_hook(hook).remove)
        for batch in batches:
            kept |= {"read": batch["attention_mask"].bool(), "written": answered_mask(batch).bool()}
            model(**batch)
    return collectors


def _taking(
    inputs: Inputs, kept: Mapping[str, torch.Tensor], which: str, *, first_counts: bool
) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
    def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        values = given[0].float()
        inputs.add(values[kept[which]])
        if first_counts:
            inputs.add(values[:, 0], weight=float(kept[which].sum()) / len(values))

    return hook


def kept_layers(structure: Sequence[LayerShape]) -> list[int]:
    """The layers that are not dropped."""
    return [index for index, shape in enumerate(structure) if shape != DROPPED]


@torch.no_grad()
def stitched(model: PreTrainedModel, parts: Sequence[Parts], structure: Sequence[LayerShape]) -> PreTrainedModel:
    """A copy of the model with so many heads and neurons in each layer, the output Linears as pruning has left them.

    Args:
        model: The one that the parts are of.
        parts: Of each layer.
        structure: Heads and neurons of each layer; a layer with neither is dropped.
    """
    chosen = [
        (parts[index].heads[structure[index][0]], parts[index].neurons[structure[index][1]])
        for index in kept_layers(structure)
    ]
    student = keep_layers(model, kept_layers(structure))
    student = keep_heads(student, [heads.keep for heads, _ in chosen])
    student = keep_neurons(student, [neurons.keep for _, neurons in chosen])
    for layer, snapshot_pair in zip(encoder_layers(student), chosen, strict=True):
        family = family_of_layer(layer)
        for path, snapshot in zip((family.context, family.feed_forward[1]), snapshot_pair, strict=True):
            linear = layer.get_submodule(path)
            linear.weight.copy_(snapshot.weight)  # type: ignore[operator]
            linear.bias.copy_(snapshot.bias)  # type: ignore[operator]
    return student.eval()
