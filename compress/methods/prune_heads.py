"""Remove attention heads that a task's loss does not need."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.layout import distinct_layers, head_count
from compress.models.surgery import copy_of, keep_heads
from compress.objectives.labels import labels
from compress.pruning.fisher import drawn_examples, gate_gradients
from compress.pruning.gates import fold_gates
from compress.pruning.guesses import cut_to, left_unevenly
from compress.pruning.head_gates import HeadGates
from compress.pruning.importance import head_importance, most_removable, without_lowest
from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from compress.training.compatibility import check_prunable, labels_aligned
from compress.training.device import pick_device
from compress.training.loop import train
from compress.training.settings import BatchSize, Epochs, LearningRate, Settings, settings_of
from compress.training.step_context import StepContext
from compress.training.training_loss import Term, TrainingLoss

logger = logging.getLogger(__name__)

ROUNDS = 10  # to all heads: each round removes as many as a tenth, as in the paper


@within_range
@labels_aligned()
def prune_heads(
    model: PreTrainedModel,
    *,
    task: Task,
    fraction: Annotated[float, Field(gt=0, lt=1, description="of all heads that go")],
    at_least: Annotated[int, Field(ge=0, description="heads that each layer keeps; 0 lets attention go as a whole")] = 0,
    examples: Annotated[int, Field(ge=1, le=1 << 20, description="of the training part to learn importance from")] = 1024,
    learn: Annotated[bool, Field(description="train gates on the heads, and the weights; false: gradients alone")] = False,
    penalty: Annotated[float, Field(gt=0, description="L0 penalty of each open head, for learn; more closes sooner")] = 0.01,
    gate_learning_rate: Annotated[float, Field(gt=0, lt=1, description="highest learning rate of gates, for learn")] = 0.02,
    epochs: Epochs = 1,
    learning_rate: LearningRate = 3e-5,
    batch_size: BatchSize = 64,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Remove the attention heads that the task's loss needs least, more from some layers than from others.

    A tenth of all heads at most goes at a time, and the rest is judged anew; nothing is trained, unless `learn` is set: then
    each head has a gate that is drawn in every step and that a penalty closes, and the weights adapt meanwhile. In short texts
    attention is the smaller part of a layer's time, so that this alone makes a model little faster. Let a `distill` follow
    where many heads go.

    Source: Michel et al. 2019, "Are sixteen heads really better than one?", arXiv 1905.10650, section 4; Voita et al. 2019,
    "Analyzing multi-head self-attention", arXiv 1905.09418, section 5 (`learn`).
    Differs: gradients are each example's own, which the code of the former sums over a batch; with `learn`, `fraction` tells
    how many heads go, those of the lowest gates, where Voita's go as the penalty has it.

    Args:
        model: Fine-tuned on the task; stays as it is.
        task: Of its training part examples are read, with their labels; the evaluation split is not touched.
        fraction: How many of all heads go, rounded; layers lose different numbers.
        at_least: Heads that each layer keeps. Without any head, a layer's attention answers the same to every token.
        examples: How many are looked at, drawn by the seed; more cost time in proportion.
        learn: Whether gates are trained.
        penalty: On the expected number of open heads, added to the labels' loss.
        gate_learning_rate: Highest rate of the gates; it follows the same schedule.
        epochs: Passes over the training part, for `learn`.
        learning_rate: Highest rate of AdamW for the weights, for `learn`.
        batch_size: Examples per forward pass, for `learn`.
        run: Seed, device, checkpoints and progress.

    Returns:
        The copy with fewer heads.

    Raises:
        InputError: More would go than can, or the model quantizes, has no heads, or does not fit the task.
        NoEffect: The fraction is less than half a head.
    """
    run = run or StepContext()
    count = _count(model, task, fraction, at_least)
    if run.is_rehearsal:
        counts = [head_count(layer) for layer in distinct_layers(model)]
        return cut_to(model, left_unevenly(counts, count, run.guess.among(len(counts)), at_least=at_least))
    if learn:
        settings = settings_of(epochs, learning_rate, batch_size=batch_size)
        pruned = _learned(model, task, count, at_least, penalty, gate_learning_rate, settings, run)
    else:
        pruned = _in_rounds(model, drawn_examples(model, task, examples, run.seed), count, at_least, run)
    left = [head_count(layer) for layer in distinct_layers(pruned)]
    run.facts["heads"] = left
    logger.info("%d heads stay; by layer %s", sum(left), left)
    return pruned.eval()


def _count(model: PreTrainedModel, task: Task, fraction: float, at_least: int) -> int:
    """How many heads go, everything checked."""
    counts = [head_count(layer) for layer in distinct_layers(model)]
    total = sum(counts)
    if not total:
        raise InputError(f"prune_heads: this {model.config.model_type} has no attention heads; remove the step.")
    check_prunable("prune_heads", model, task)
    count, most = round(fraction * total), most_removable(counts, at_least)
    if not count:
        raise NoEffect(
            f"prune_heads.fraction is {fraction}, less than half of one of {total} heads; use more, or remove the step."
        )
    if count > most:
        raise InputError(
            f"prune_heads.fraction is {fraction}, {count} of {total} heads, but where each layer keeps {at_least} (at_least), "
            f"{most} can go, {most / total:.3g}; use that or less, or a smaller at_least."
        )
    return count


def _in_rounds(model: PreTrainedModel, encoded: Encoded, count: int, at_least: int, run: StepContext) -> PreTrainedModel:
    device = pick_device(run.device)
    pruned = copy_of(model)
    at_once = -(-sum(head_count(layer) for layer in distinct_layers(model)) // ROUNDS)
    while count:
        reader = copy_of(pruned).to(device).eval().requires_grad_(False)
        scores = head_importance(gate_gradients(reader, encoded, device, run.progress).heads)
        pruned = keep_heads(pruned, without_lowest(scores, min(count, at_once), at_least))
        count -= min(count, at_once)
    return pruned


def _learned(
    model: PreTrainedModel,
    task: Task,
    count: int,
    at_least: int,
    penalty: float,
    rate: float,
    settings: Settings,
    run: StepContext,
) -> PreTrainedModel:
    gates = HeadGates(model)
    terms: dict[str, tuple[float, Term]] = {"labels": (1.0, labels), "penalty": (penalty, lambda *_: gates.expected_open())}
    goal = TrainingLoss(terms, learned=nn.ModuleDict({"gates": gates}), teaches_logits=False, rates={"gates.log_alpha": rate})
    with ExitStack() as stack:
        trained = train(model, task=task, settings=settings, goal=goal, run=run, before_step=partial(_gate, gates, stack))
    gates.cpu()
    stay = without_lowest(gates.by_layer(gates.log_alpha.detach()), count, at_least)
    folded = fold_gates(trained, [_open(layer) for layer in gates.by_layer(gates.settled())])
    return keep_heads(folded, stay)


def _gate(gates: HeadGates, stack: ExitStack, student: PreTrainedModel, step: int, total: int) -> None:
    """Gate the student from the first step on."""
    if not gates.is_applied:
        gates.is_applied = True
        stack.enter_context(gates.applied(student))


def _open(gates: torch.Tensor) -> torch.Tensor:
    """As they are where they are open; a head that stays though its gate is closed works as it did."""
    return torch.where(gates > 0, gates, 1.0)
