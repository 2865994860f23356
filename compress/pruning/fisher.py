"""How much the task's loss would change without a head or a neuron: the empirical Fisher information of their gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.log import Progress, no_progress
from compress.models.first_token import first_token_only
from compress.models.heads import logits_of
from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.pruning.gates import gated
from compress.training.batches import sorted_batches
from compress.training.predict import on_device

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

BATCH_SIZE = 32
SMALLEST_GAIN = 1e-9  # of a swap, as a part of what the layer's gates weigh in all, so that rounding errors swap nothing


def drawn_examples(
    model: PreTrainedModel, task: Task, count: int, seed: int, role: Literal["train", "selection"] = "train"
) -> Encoded:
    """So many examples of the training part, or of that for selection, or all where it has fewer, drawn by the seed."""
    part = (task.train if role == "train" else task.selection).require(role)
    chosen = np.random.default_rng(seed).choice(len(part), min(part.rows_for(count), len(part)), replace=False)
    return task.read_by(model).encode(part.pick(np.sort(chosen)), model.tokenizer)


@dataclass(frozen=True)
class GateGradients:
    """The gradient of each example's loss by each gate, at gates of 1.

    Args:
        heads: (examples, heads) for each distinct layer.
        neurons: (examples, neurons) for each distinct layer.
    """

    heads: list[torch.Tensor]
    neurons: list[torch.Tensor]


def gate_gradients(
    model: PreTrainedModel, encoded: Encoded, device: str = "cpu", progress: Progress = no_progress
) -> GateGradients:
    """The gradients of the labels' loss, example by example.

    Args:
        model: In evaluation mode, on the device.
        encoded: Labelled examples.
        device: Where the model is.
        progress: Told after each batch.

    Returns:
        On the CPU, in the order of the examples.
    """
    layers = distinct_layers(model)
    counts = [head_count(layer) for layer in layers] + [neuron_count(layer) for layer in layers]
    totals = [torch.zeros(len(encoded), count) for count in counts]
    batches = sorted_batches(encoded.lengths, BATCH_SIZE, encoded.groups)
    for done, indices in enumerate(batches, 1):
        inputs = on_device(encoded.batch(indices), device)
        targets = encoded.rules.collate(encoded, indices, inputs["input_ids"].shape[1]).to(device)
        gates = [torch.ones(len(indices), count, device=device, requires_grad=True) for count in counts]
        with torch.enable_grad(), gated(model, gates[: len(layers)], gates[len(layers) :]), first_token_only(model):
            loss = encoded.rules.loss(logits_of(model(**inputs)), targets) * len(indices)
        gradients = torch.autograd.grad(loss, gates, allow_unused=True, materialize_grads=True)
        for total, gradient in zip(totals, gradients, strict=True):
            total[indices] = gradient.cpu()
        progress("importance", done, len(batches))
    return GateGradients(totals[: len(layers)], totals[len(layers) :])


def row_information(
    model: PreTrainedModel, encoded: Encoded, linears: Mapping[str, Sequence[nn.Linear]], progress: Progress = no_progress
) -> dict[str, torch.Tensor]:
    """The Fisher information of the rows of some weights: the square of each example's gradient of the labels' loss, summed
    over a row's columns and over the examples, (out,) each.

    Args:
        model: In evaluation mode, on the CPU.
        encoded: Labelled examples.
        linears: For each weight, by any name, the Linears that read it.
        progress: Told after each batch.
    """
    information = {name: torch.zeros(readers[0].out_features, dtype=torch.float64) for name, readers in linears.items()}
    calls: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def hook(name: str) -> Any:
        return lambda _, inputs, output: calls[name].append((inputs[0].detach(), output))

    handles = [linear.register_forward_hook(hook(name)) for name, readers in linears.items() for linear in readers]
    batches = sorted_batches(encoded.lengths, BATCH_SIZE, encoded.groups)
    try:
        for done, indices in enumerate(batches, 1):
            calls.update({name: [] for name in linears})
            inputs = on_device(encoded.batch(indices), "cpu")
            targets = encoded.rules.collate(encoded, indices, inputs["input_ids"].shape[1])
            with torch.enable_grad():
                loss = encoded.rules.loss(logits_of(model(**inputs)), targets) * len(indices)
            outputs = [output for name in linears for _, output in calls[name]]
            gradients = iter(torch.autograd.grad(loss, outputs, allow_unused=True, materialize_grads=True))
            for name in linears:
                read, slopes = (
                    torch.cat(tensors, 1) for tensors in zip(*((x, next(gradients)) for x, _ in calls[name]), strict=True)
                )
                # an example's gradient is slopes' read, (out, in): its rows' squares need the products of what was read alone
                information[name] += ((read @ read.transpose(1, 2) @ slopes) * slopes).double().sum((0, 1))
            progress("information", done, len(batches))
    finally:
        for handle in handles:
            handle.remove()
    return information


def importance(gradients: torch.Tensor) -> torch.Tensor:
    """The diagonal of the Fisher information: squares of the gradients, summed over the examples, (gates,).

    Source: Kwon et al. 2022, arXiv 2204.09656, section 4.1.
    """
    return gradients.double().square().sum(0)


def rearranged(gradients: torch.Tensor, kept: Sequence[int]) -> list[int]:
    """As many gates as `kept`, exchanged so that removing the others costs less, with what they do together counted.

    What removing gates costs is the square of the sum of their gradients, summed over the examples: the block of the Fisher
    information, cross terms included. Each kept gate in turn, the least important first, is removed and the gate put back
    whose return leaves the least; until no exchange gains anything.

    Source: Kwon et al. 2022, arXiv 2204.09656, section 4.2.
    Differs: passes are repeated until nothing changes; the code makes one.

    Args:
        gradients: Of one layer's gates, (examples, gates).
        kept: Indices to begin with.

    Returns:
        Rising indices.
    """
    count = gradients.shape[1]
    is_removed = torch.ones(count, dtype=torch.bool)
    is_removed[list(kept)] = False
    if not kept or not is_removed.any():
        return sorted(kept)
    products = gradients.double().T @ gradients.double()  # (gates, gates)
    weights = products.diagonal()
    summed = products[:, is_removed].sum(1)  # each gate's gradient times the sum of the removed ones'
    enough = SMALLEST_GAIN * float(weights.sum())
    changed = True
    while changed:
        changed = False
        for index in weights.argsort().tolist():
            if is_removed[index]:
                continue
            gains = 2 * (summed + products[:, index]) - weights  # of putting a gate back, once this one is removed as well
            back = int(gains.masked_fill(~is_removed, -torch.inf).argmax())
            if gains[back] > gains[index] + enough:
                is_removed[index], is_removed[back] = True, False
                summed += products[:, index] - products[:, back]
                changed = True
    return torch.nonzero(~is_removed)[:, 0].tolist()
