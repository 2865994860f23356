"""What tells which heads, neurons and layers a model needs, and what is left when the least important ones go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from compress.log import Progress, no_progress
from compress.models.families import family_of_layer
from compress.models.layout import distinct_layers, encoder_layers
from compress.models.states import recorded
from compress.pruning.fisher import gate_gradients, importance
from compress.training.batches import sorted_batches
from compress.training.predict import BATCH_SIZE, on_device

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded

Importance = Literal["magnitude", "taylor", "fisher"]


def head_importance(gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """How much the loss is expected to change without each head, (heads,) for each layer: the mean over the examples of the
    absolute gradient of its gate, over the root of the sum of squares in its layer.

    Source: Michel et al. 2019, arXiv 1905.10650, section 4.1; normalised as in Molchanov et al. 2017, arXiv 1611.06440.

    Args:
        gradients: Of each layer's gates, (examples, heads).
    """
    means = [layer.double().abs().mean(0) for layer in gradients]
    return [layer / layer.norm().clamp(min=torch.finfo(layer.dtype).tiny) for layer in means]


@torch.no_grad()
def neuron_norms(model: PreTrainedModel) -> list[torch.Tensor]:
    """The norm of what a neuron reads by times that of what it writes by, over the mean of its layer, (neurons,) each."""
    relative_norms = []
    for layer in distinct_layers(model):
        family = family_of_layer(layer)
        norms = layer.get_submodule(family.feed_forward[1]).weight.norm(dim=0).double()
        for name in family.neurons:
            norms = norms * layer.get_submodule(name).weight.norm(dim=1).double()
        relative_norms.append(norms / norms.mean() if len(norms) else norms)
    return relative_norms


def neuron_importance(
    model: PreTrainedModel, encoded: Encoded, how: Importance, device: str = "cpu", progress: Progress = no_progress
) -> list[torch.Tensor]:
    """What each neuron is worth, (neurons,) for each distinct layer, at least 0.

    Args:
        model: In evaluation mode, on the device.
        encoded: Labelled examples, which magnitude does not read.
        how: "magnitude" is that of its weights (`neuron_norms`); "taylor" the mean over the examples of the absolute gradient
            of its gate, which is that of what it writes times the loss's gradient by it; "fisher" the mean of its square.
        device: Where the model is.
        progress: Told after each batch.
    """
    if how == "magnitude":
        return neuron_norms(model)
    gradients = gate_gradients(model, encoded, device, progress).neurons
    return [layer.double().abs().sum(0) if how == "taylor" else importance(layer) for layer in gradients]


@torch.no_grad()
def layer_similarity(
    model: PreTrainedModel, encoded: Encoded, device: str = "cpu", progress: Progress = no_progress
) -> list[float]:
    """The cosine between what each layer reads and what it answers, mean over all tokens that are no padding.

    Source: Sajjad et al. 2020, arXiv 2004.03844, section 3 (contribution).

    Args:
        model: In evaluation mode, on the device.
        encoded: Examples to read.
        device: Where the model is.
        progress: Told after each batch.
    """
    depth = len(encoder_layers(model))
    sums, tokens = torch.zeros(depth, dtype=torch.float64), 0
    batches = sorted_batches(encoded.lengths, BATCH_SIZE)
    with recorded(model, {("hidden", number) for number in range(depth + 1)}) as states:
        for done, rows in enumerate(batches, 1):
            batch = on_device(encoded.batch(rows), device)
            model(**batch)
            mask = batch["attention_mask"].bool()
            for index in range(depth):
                before, after = states["hidden", index][mask], states["hidden", index + 1][mask]
                sums[index] += functional.cosine_similarity(before.float(), after.float(), dim=-1).sum().item()
            tokens += int(mask.sum())
            progress("contribution", done, len(batches))
    return [total / tokens for total in sums.tolist()]


def most_removable(counts: Sequence[int], at_least: int) -> int:
    """How many can go at most where each layer keeps `at_least`, or the fewer that it has."""
    return sum(max(0, count - at_least) for count in counts)


def without_lowest(scores: Sequence[torch.Tensor], count: int, at_least: int = 0) -> list[list[int]]:
    """The indices that stay in each layer, rising, when the `count` lowest scores of all layers go.

    Args:
        scores: (one for each,) for each layer.
        count: How many go; no more than `most_removable`.
        at_least: Of a layer's highest stay in any case.
    """
    guarded = [layer.clone() for layer in scores]
    for layer in guarded:
        layer[layer.topk(min(at_least, len(layer))).indices] = torch.inf
    stays = torch.ones(sum(map(len, guarded)), dtype=torch.bool)
    stays[torch.cat(guarded).argsort(stable=True)[:count]] = False
    return [torch.nonzero(layer)[:, 0].tolist() for layer in torch.split(stays, [len(layer) for layer in guarded])]


def highest_in_multiples(scores: Sequence[torch.Tensor], count: int, multiple_of: int) -> list[list[int]]:
    """The indices that stay in each layer, rising, when `count` of all layers stay at most: the highest ones, so many at a
    time that each layer keeps a multiple, or all that it has.

    Args:
        scores: (one for each,) for each layer.
        count: How many stay at most; less than a multiple may be left over.
        multiple_of: Taken at a time.
    """
    groups = []
    for layer, values in enumerate(scores):
        ordered = values.argsort(descending=True, stable=True)
        groups += [(-float(values[group].mean()), layer, group) for group in torch.split(ordered, multiple_of) if len(group)]
    stay: list[list[int]] = [[] for _ in scores]
    for _, layer, group in sorted(groups, key=lambda entry: entry[0]):
        if len(group) > count:
            break
        count -= len(group)
        stay[layer] += group.tolist()
    return [sorted(layer) for layer in stay]
