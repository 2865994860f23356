"""Which parts of an encoder are worth their parameters, learned beside its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import family_of
from compress.models.layout import distinct_layers, head_count, head_size, neuron_count, parameter_count
from compress.pruning.gates import gated, gated_anew
from compress.pruning.hard_concrete import HIGHEST, LOWEST, drawn, open_probability, settled
from compress.pruning.width import gated_width

FARTHEST, HALVINGS = 12.0, 30  # of log alpha, beyond which nothing opens or closes; and how often that range is cut in two
Drawing = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Cost:
    """The parameters of one head, of one neuron, or of what stays of a layer without any.

    Args:
        weights: Those that grow with the width.
        biases: Those that do not.
    """

    weights: int
    biases: int = 0

    def within(self, share: torch.Tensor | float) -> torch.Tensor | float:
        """How many are left in this share of the width."""
        return self.weights * share + self.biases


@dataclass(frozen=True)
class LayerCosts:
    """What a layer is made of: as many heads and neurons at a cost each, and the rest."""

    heads: int
    neurons: int
    head: Cost
    neuron: Cost
    rest: Cost


def layer_costs(model: PreTrainedModel) -> list[LayerCosts]:
    """What each distinct layer is made of; neurons are those of its (last) feed-forward part."""
    return [_costs_of(layer, model) for layer in distinct_layers(model)]


def _costs_of(layer: Any, model: PreTrainedModel) -> LayerCosts:
    family, size = family_of(model), head_size(layer)
    readers = [layer.get_submodule(path) for path in family.projections]
    context, behind = (layer.get_submodule(path) for path in (family.context, family.feed_forward[1]))
    before = [layer.get_submodule(path) for path in family.neurons]
    head = Cost(size * (sum(linear.in_features for linear in readers) + context.out_features), size * _biased(readers))
    neuron = Cost(sum(linear.in_features for linear in before) + behind.out_features, _biased(before))
    heads, neurons = head_count(layer), neuron_count(layer)
    rest = parameter_count(layer) - heads * (head.weights + head.biases) - neurons * (neuron.weights + neuron.biases)
    return LayerCosts(heads, neurons, head, neuron, Cost(rest))


def _biased(linears: Sequence[Any]) -> int:
    return sum(linear.bias is not None for linear in linears)


@dataclass(frozen=True)
class Gates:
    """One number for each part: for each distinct layer (heads,) and (neurons,), and (width,) or None."""

    heads: list[torch.Tensor]
    neurons: list[torch.Tensor]
    width: torch.Tensor | None


class StructureMasks(nn.Module):
    """The logarithm of alpha of a hard-concrete gate for each attention, head, feed-forward part, neuron and, if wanted,
    dimension of the states; and the multipliers that hold the parameters which are left to a target.

    A head's gate is multiplied by that of its attention, a neuron's by that of its feed-forward part.

    Args:
        model: Its encoder is gated; nothing of it is kept.
        width: Whether dimensions have gates.
        multiple_of: The numbers of neurons and of dimensions that are left are multiples of it, as far as there are so many.
        seed: For the neurons' start: a little apart from each other, so that they can be ranked.
    """

    def __init__(self, model: PreTrainedModel, *, width: bool, multiple_of: int, seed: int) -> None:
        super().__init__()
        self.costs = layer_costs(model)
        self.multiple_of = multiple_of
        heads, neurons = sum(layer.heads for layer in self.costs), sum(layer.neurons for layer in self.costs)
        self.attention = nn.Parameter(torch.full((len(self.costs),), HIGHEST))
        self.heads = nn.Parameter(torch.full((heads,), HIGHEST))
        self.feed_forward = nn.Parameter(torch.full((len(self.costs),), HIGHEST))
        self.neurons = nn.Parameter(0.01 * torch.randn(neurons, generator=torch.Generator().manual_seed(seed)))
        self.width = nn.Parameter(torch.full((model.config.hidden_size,), HIGHEST)) if width else None
        self.multipliers = nn.Parameter(torch.zeros(2))
        self.target = 0.0
        self.latest: Gates | None = None

    def drawn(self) -> Gates:
        """Gates of one draw."""
        return self._gates(drawn, drawn, drawn)

    @torch.no_grad()
    def settled(self) -> Gates:
        """The gates of evaluation and of the result, which nothing is drawn for.

        So many neurons stay, more or fewer than each layer would keep by itself, that at least as much is gone as draws leave
        out on average.
        """
        expected, low, high = self.expected_sparsity().item(), -FARTHEST, FARTHEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._sparsity(self._settled(middle)) >= expected else (low, middle)
        return self._settled(low)

    def _settled(self, offset: float) -> Gates:
        many = partial(settled, multiple_of=self.multiple_of)
        return self._gates(settled, partial(many, offset=offset), many)

    def _gates(self, few: Drawing, many: Drawing, wide: Drawing) -> Gates:
        attention, feed_forward = few(self.attention), few(self.feed_forward)
        heads = self.heads.split_with_sizes([layer.heads for layer in self.costs])
        neurons = self.neurons.split_with_sizes([layer.neurons for layer in self.costs])
        return Gates(
            [whole * few(part) for whole, part in zip(attention, heads, strict=True)],
            [whole * many(part) for whole, part in zip(feed_forward, neurons, strict=True)],
            None if self.width is None else wide(self.width),
        )

    @contextlib.contextmanager
    def applied(self, student: PreTrainedModel) -> Iterator[None]:
        """Gate every forward pass inside: by a draw of its own in training, by settled gates else; `latest` tells which."""

        @contextlib.contextmanager
        def gate() -> Iterator[None]:
            self.latest = self.drawn() if student.training else self.settled()
            with contextlib.ExitStack() as inside:
                inside.enter_context(gated(student, self.latest.heads, self.latest.neurons))
                if self.latest.width is not None:
                    inside.enter_context(gated_width(student, self.latest.width))
                yield

        with gated_anew(student, gate):
            yield

    def expected_sparsity(self) -> torch.Tensor:
        """The fraction of the encoder's parameters that draws leave out on average: CoFi's formula, biases counted too."""
        share = 1.0 if self.width is None else open_probability(self.width).mean()
        heads = open_probability(self.heads).split_with_sizes([layer.heads for layer in self.costs])
        neurons = open_probability(self.neurons).split_with_sizes([layer.neurons for layer in self.costs])
        attention, feed_forward = open_probability(self.attention), open_probability(self.feed_forward)
        return self._left_out(
            share,
            [whole * part.sum() for whole, part in zip(attention, heads, strict=True)],
            [whole * part.sum() for whole, part in zip(feed_forward, neurons, strict=True)],
        )

    def _sparsity(self, gates: Gates) -> float:
        """The fraction of the encoder's parameters that is gone where gates are 0."""
        share = 1.0 if gates.width is None else (gates.width > 0).float().mean()
        return self._left_out(
            share, [(layer > 0).sum() for layer in gates.heads], [(layer > 0).sum() for layer in gates.neurons]
        ).item()

    def _left_out(self, share: torch.Tensor | float, heads: list[torch.Tensor], neurons: list[torch.Tensor]) -> torch.Tensor:
        """The fraction that is gone where this share of the width and so many heads and neurons of each layer are left."""
        left = torch.zeros((), device=self.heads.device)
        for index, layer in enumerate(self.costs):
            left = left + heads[index] * layer.head.within(share) + neurons[index] * layer.neuron.within(share)
            left = left + layer.rest.within(share)
        return 1 - left / encoder_parameters(self.costs)

    def penalty(self) -> torch.Tensor:
        """The Lagrangian: by its gradient the gates come nearer to the target, and the multipliers rise while they do not."""
        gap = self.expected_sparsity() - self.target
        first, second = 2 * self.multipliers.detach() - self.multipliers  # as they are, but their gradient is turned round
        return first * gap + second * gap.square()

    @torch.no_grad()
    def clamp(self) -> None:
        """Hold log alpha within its range."""
        for name, parameter in self.named_parameters():
            if name != "multipliers":
                parameter.clamp_(LOWEST, HIGHEST)


def encoder_parameters(costs: list[LayerCosts]) -> int:
    """The parameters of all distinct layers together."""
    parts = [part for layer in costs for part in ((layer.heads, layer.head), (layer.neurons, layer.neuron), (1, layer.rest))]
    return sum(count * (cost.weights + cost.biases) for count, cost in parts)
