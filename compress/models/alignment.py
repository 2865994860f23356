"""Bring a layer's neurons and heads into another layer's order, so that a mean of both is a layer of the same kind.

Neurons can change places, heads too, and the dimensions inside a head can be turned, without any change of what the layer
answers. Layers that learned apart from each other differ in all of these, and a mean of their weights as they are fits none.

Source: Singh and Jaggi 2020, "Model fusion via optimal transport", arXiv 1910.05653 (neurons, by what they answer); Schönemann
1966, "A generalized solution of the orthogonal Procrustes problem" (the turn inside a head).
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment

from compress.models.families import family_of_layer
from compress.models.layout import head_count, head_size, neuron_count, projections_of

SMALLEST = 1e-12


@torch.no_grad()
def align_neurons(layer: Any, like: Any, seen: torch.Tensor, wanted: torch.Tensor) -> None:
    """Reorder the neurons of a layer's (last) feed-forward part, in place, so that they answer most like another layer's.

    Args:
        layer: Is changed; what it answers stays.
        like: A layer with as many neurons.
        seen: What the layer's neurons answer, (tokens, neurons).
        wanted: What the other's answer to the same tokens.
    """
    assert neuron_count(layer) == neuron_count(like)
    order = _matched(_standardized(wanted).T @ _standardized(seen))
    first, second = (layer.get_submodule(name) for name in family_of_layer(layer).feed_forward)
    first.weight.copy_(first.weight[order])
    first.bias.copy_(first.bias[order])
    second.weight.copy_(second.weight[:, order])


@torch.no_grad()
def align_heads(layer: Any, like: Any, seen: torch.Tensor, wanted: torch.Tensor) -> None:
    """Reorder a layer's heads, in place, so that what they add to the states is most like another layer's, and turn the
    dimensions inside each so that its weights are nearest to those of its counterpart.

    Args:
        layer: Is changed; what it answers stays.
        like: A layer with as many heads of the same size.
        seen: What the layer's heads answer, (tokens, heads * head size).
        wanted: What the other's answer to the same tokens.
    """
    heads, size = head_count(layer), head_size(layer)
    assert (heads, size) == (head_count(like), head_size(like))
    order = torch.tensor(_matched(_likeness(like, layer, wanted, seen, size)))
    columns = (order[:, None] * size + torch.arange(size)).flatten()
    behind = layer.get_submodule(family_of_layer(layer).context)
    behind.weight.copy_(behind.weight[:, columns])
    for linear in projections_of(layer):
        linear.weight.copy_(linear.weight[columns])
        linear.bias.copy_(linear.bias[columns])
    query, key, value = projections_of(layer)
    others, behind_other = projections_of(like), like.get_submodule(family_of_layer(like).context)
    for head in range(heads):
        rows = slice(head * size, (head + 1) * size)
        turn = _turn(others[0].weight[rows] @ query.weight[rows].T + others[1].weight[rows] @ key.weight[rows].T)
        for linear in (query, key):
            _turn_rows(linear, rows, turn)
        turn = _turn(others[2].weight[rows] @ value.weight[rows].T + behind_other.weight[:, rows].T @ behind.weight[:, rows])
        _turn_rows(value, rows, turn)
        behind.weight[:, rows] = behind.weight[:, rows] @ turn.T


def _matched(likeness: torch.Tensor) -> list[int]:
    """For each row the column that it gets, so that the pairs are most alike in all."""
    _, columns = linear_sum_assignment(likeness.numpy(), maximize=True)
    return [int(column) for column in columns]


def _standardized(values: torch.Tensor) -> torch.Tensor:
    centred = values.double() - values.double().mean(0)
    return centred / centred.norm(dim=0).clamp(min=SMALLEST)


def _likeness(like: Any, layer: Any, wanted: torch.Tensor, seen: torch.Tensor, size: int) -> torch.Tensor:
    """The cosines between what the heads of two layers add to the states of all tokens, (its heads, the layer's heads)."""
    added = []
    for module, answers in ((like, wanted), (layer, seen)):
        weight = module.get_submodule(family_of_layer(module).context).weight.double()
        centred = answers.double() - answers.double().mean(0)
        parts = zip(*(torch.split(matrix, size, 1) for matrix in (centred, weight)), strict=True)
        rows = torch.stack([(answer @ columns.T).flatten() for answer, columns in parts])  # (heads, tokens * width)
        added.append(rows / rows.norm(dim=1, keepdim=True).clamp(min=SMALLEST))
    return added[0] @ added[1].T


def _turn(product: torch.Tensor) -> torch.Tensor:
    """The rotation R with which R b is nearest to a, where a b' is given."""
    left, _, right = torch.linalg.svd(product.double())
    rotation: torch.Tensor = (left @ right).float()
    return rotation


def _turn_rows(linear: Any, rows: slice, turn: torch.Tensor) -> None:
    linear.weight[rows] = turn @ linear.weight[rows]
    linear.bias[rows] = turn @ linear.bias[rows]
