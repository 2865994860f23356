"""The loss of a model on a fixed sample, as a function of its weights; the model itself is never changed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.kernel import attention_kernel
from compress.models.heads import logits_of
from compress.models.masked_places import at_places
from compress.models.quantizers import quantized_linears, quantizers_off, weights_as_integers
from compress.models.surgery import copy_of
from compress.training.batches import sorted_batches
from compress.training.predict import on_device

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded

BATCH_SIZE = 16
TOKENS = 4096
"""Of a batch at most, padding included: the second derivatives keep several times what training does."""

Weights = dict[str, torch.Tensor]


def weights_of(model: PreTrainedModel) -> Weights:
    """A model's weights by name, one that is tied once; of a model that quantizes as the float numbers that training keeps."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def weights_on_a_line(model: PreTrainedModel) -> Weights:
    """The same, but of a model that quantizes as its integers tell them."""
    return weights_of(model) | weights_as_integers(model)


@dataclass(frozen=True)
class _Batch:
    """Some of the examples: `share` of them all, `places` that are read where a model tells pieces."""

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    places: torch.Tensor | None
    share: float


class SampleLoss:
    """The task's loss on labels: the mean of the batches' losses, each counted by its examples, without dropout, in float32.

    Batches are made once, of like lengths, so that the same weights always have the same loss.

    Args:
        model: Tells how weights are used; a copy is kept.
        encoded: The sample as the model reads it.
        is_float: Whether a model that quantizes computes in float here.
    """

    def __init__(self, model: PreTrainedModel, encoded: Encoded, *, is_float: bool = False) -> None:
        self._model = copy_of(model).float().cpu().eval().requires_grad_(False)
        self._rules, self._is_float = encoded.rules, is_float
        tokens = min(TOKENS, encoded.tokens_at_once or TOKENS)
        self._batches = []
        for rows in sorted_batches(encoded.lengths, BATCH_SIZE, encoded.groups, tokens=tokens):
            inputs = on_device(encoded.batch(rows), "cpu")
            targets = encoded.rules.collate(encoded, rows, inputs["input_ids"].shape[1])
            places = None
            if encoded.rules.head.of_pieces:
                places = torch.from_numpy(encoded.answered(rows, inputs))
                targets = targets[places][None]
            self._batches.append(_Batch(inputs, targets, places, len(rows) / len(encoded)))

    @property
    def is_smooth(self) -> bool:
        """Whether it has second derivatives: no weight is rounded on the way."""
        return self._is_float or not quantized_linears(self._model)

    def at(self, weights: Weights) -> float:
        """The loss at these weights; what is left out is the model's own."""
        with torch.inference_mode(), self._computing("sdpa"):
            return sum(self._of(batch, weights).item() * batch.share for batch in self._batches)

    def curvature(self, weights: Weights, direction: Mapping[str, torch.Tensor]) -> float:
        """The second derivative of the loss along a direction."""
        with self._computing("eager"):  # the faster kernels have no second derivative
            return sum(bend(partial(self._of, batch), weights, direction) * batch.share for batch in self._batches)

    @contextlib.contextmanager
    def _computing(self, kernel: str) -> Iterator[None]:
        with attention_kernel(self._model, kernel), contextlib.ExitStack() as stack:
            if self._is_float:
                stack.enter_context(quantizers_off(self._model))
            yield

    def _of(self, batch: _Batch, weights: Weights) -> torch.Tensor:
        with at_places(self._model, batch.places):
            output: Any = functional_call(self._model, weights, kwargs=dict(batch.inputs))
        return self._rules.loss(logits_of(output), batch.targets)


def bend(loss_at: Callable[[Weights], torch.Tensor], weights: Weights, direction: Mapping[str, torch.Tensor]) -> float:
    """The second derivative of a loss along a direction, `direction' H direction`, by two backward passes.

    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian", Neural Computation 6.

    Args:
        loss_at: The loss, 0-d, of weights by name.
        weights: Where.
        direction: Of some of the weights or all; the others stay.
    """
    leaves = {name: weights[name].clone().requires_grad_() for name in direction}
    tensors = list(leaves.values())
    with torch.enable_grad():
        slopes = torch.autograd.grad(
            loss_at({**weights, **leaves}), tensors, create_graph=True, materialize_grads=True, allow_unused=True
        )
        slope = torch.stack([(own * direction[name]).sum() for own, name in zip(slopes, leaves, strict=True)]).sum()
        if slope.grad_fn is None:  # it is the same everywhere
            return 0.0
        bends = torch.autograd.grad(slope, tensors, materialize_grads=True, allow_unused=True)
    return sum((own * direction[name]).sum().item() for own, name in zip(bends, leaves, strict=True))


def check_loss(value: float, name: str) -> None:
    """Raise InputError where a model's loss on the sample is no finite number."""
    if not math.isfinite(value):
        raise InputError(f"the loss of {name} on the sample is {value}, around which nothing can be told; use another model.")
