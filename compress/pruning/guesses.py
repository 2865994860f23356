"""Shapes that a rehearsal takes for those that only a step's work could tell."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.models.surgery import keep_heads, keep_neurons


def left_unevenly(counts: Sequence[int], gone: int, most_from: int, *, at_least: int = 0, multiple_of: int = 1) -> list[int]:
    """How many each layer keeps when so many of all layers go, more from some than from others.

    Args:
        counts: Of each layer.
        gone: Of all together; no more than layers can lose.
        most_from: The layer that loses most; the next one loses less, and so on around. None loses all if that can be.
        at_least: What each layer keeps, or the fewer that it has.
        multiple_of: What each layer keeps a multiple of, or all that it has; more go for that.
    """
    depth = len(counts)
    most = [count - min(max(at_least, multiple_of), count) for count in counts]
    if sum(most) < gone:  # some layers lose all
        most = [count - min(at_least, count) for count in counts]
    weights = [depth - 1 - (layer - most_from) % depth for layer in range(depth)]
    wanted = [gone * weight / max(1, sum(weights)) for weight in weights]
    lost = [min(int(share), limit) for share, limit in zip(wanted, most, strict=True)]
    while sum(lost) < gone:  # what rounding and layers that have too few leave over
        nearest = max(
            (layer for layer in range(depth) if lost[layer] < most[layer]), key=lambda layer: wanted[layer] - lost[layer]
        )
        lost[nearest] += 1
    kept = [count - drop for count, drop in zip(counts, lost, strict=True)]
    return [left if left == count else left // multiple_of * multiple_of for left, count in zip(kept, counts, strict=True)]


def with_fewer(
    model: PreTrainedModel, heads: float, neurons: float, most_from: int, *, at_least: int = 0, multiple_of: int = 1
) -> PreTrainedModel:
    """Copy a model without the last of its heads and neurons: so large a fraction of each, unevenly over the layers.

    Args:
        model: Stays as it is.
        heads: The fraction that goes.
        neurons: The same.
        most_from: See `left_unevenly`.
        at_least: Heads that each layer keeps.
        multiple_of: Of neurons.
    """
    layers = distinct_layers(model)
    kept_heads, kept_neurons = [head_count(layer) for layer in layers], [neuron_count(layer) for layer in layers]
    kept_heads = left_unevenly(kept_heads, round(heads * sum(kept_heads)), most_from, at_least=at_least)
    kept_neurons = left_unevenly(kept_neurons, round(neurons * sum(kept_neurons)), most_from, multiple_of=multiple_of)
    return cut_to(model, kept_heads, kept_neurons)


def cut_to(
    model: PreTrainedModel, heads: Sequence[int] | None = None, neurons: Sequence[int] | None = None
) -> PreTrainedModel:
    """Copy a model with the first heads and neurons of each distinct layer, so many as is told; None keeps all."""
    cut = model if heads is None else keep_heads(model, [range(count) for count in heads])
    return (cut if neurons is None else keep_neurons(cut, [range(count) for count in neurons])).eval()
