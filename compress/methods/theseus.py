"""Replace groups of a model's layers by single ones, at random at first and for good in the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, Unpack

import numpy as np
import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.families import family_of
from compress.models.layout import encoder_layers
from compress.models.surgery import copy_of, keep_layers
from compress.objectives.labels import labels
from compress.tasks.labelled import Task
from compress.training.compatibility import labels_aligned
from compress.training.device import pick_device
from compress.training.loop import train
from compress.training.settings import Epochs, LearningRate, TrainingKnobs, settings_of
from compress.training.step_context import StepContext
from compress.training.training_loss import TrainingLoss


@within_range
@labels_aligned()
def theseus(
    model: PreTrainedModel,
    *,
    task: Task,
    modules: Annotated[int, Field(ge=1, description="layers of the successor; the model's number is a multiple of it")],
    replacing: Annotated[
        Literal["linear", "constant"], Field(description="linear: the rate rises to 1; constant: it stays")
    ] = "linear",
    rate: Annotated[float, Field(gt=0, le=1, description="probability of the successor's layer, at the start")] = 0.3,
    replaced_by: Annotated[float, Field(gt=0, le=1, description="fraction of the steps after which a rising rate is 1")] = 0.7,
    start_from: Annotated[Literal["first", "uniform"], Field(description="which layers the successor begins with")] = "first",
    epochs: Epochs = 3,
    learning_rate: LearningRate = 1e-4,
    run: StepContext | None = None,
    **knobs: Unpack[TrainingKnobs],
) -> PreTrainedModel:
    """Train a successor of fewer layers in the place of the model's own, with the task's loss alone.

    In each step, each group of the model's layers (the predecessor's, which stay as they are) is replaced by one layer of the
    successor with the probability of that step; one draw per batch, the same on all processes. The selection part judges the
    successor alone, and nothing of the predecessor stays in the result. Embeddings and head stay those of the predecessor.

    Source: Xu et al. 2020, BERT-of-Theseus, arXiv 2002.02925, sections 3.1 to 3.3.
    Differs: with a rising rate, the second stage (the successor alone) is the part of the steps after `replaced_by`; after a
    constant one, let a `fine_tune` follow, which trains embeddings and head as well. A step that would replace nothing,
    and teach nothing, replaces one layer.

    Args:
        model: The predecessor, fine-tuned; stays as it is.
        task: Learned from; the evaluation split is not touched.
        modules: Layers of the successor.
        replacing: How the probability of replacing goes on from `rate`.
        rate: The probability at the start; b of the paper's curriculum, or its constant p.
        replaced_by: Where a rising rate reaches 1; later leaves less time for the successor alone.
        start_from: The predecessor's first layers, as in the paper, or evenly spread ones, the last included.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `TrainingKnobs`.

    Returns:
        The successor.

    Raises:
        InputError: `modules` does not divide the number of layers.
        NoEffect: The successor would have as many layers.
        CompressError: The loss is not finite.
    """
    run = run or StepContext()
    if family_of(model).layers_differ:
        raise InputError(
            f"theseus: layers of a {model.config.model_type} see more or less of a text, so that none can stand in for "
            "others; use drop_layers and distill."
        )
    depth = len(encoder_layers(model))
    if depth % modules:
        allowed = [str(number) for number in range(1, depth) if depth % number == 0]
        raise InputError(
            f"theseus.modules is {modules}, which does not divide the model's {depth} layers; use {' or '.join(allowed)}."
        )
    if modules == depth:
        raise NoEffect(f"theseus.modules is {modules}, as many as the model has layers; use fewer, or remove the step.")
    group = depth // modules
    kept = list(range(modules)) if start_from == "first" else [group * (index + 1) - 1 for index in range(modules)]
    predecessor = nn.ModuleList(encoder_layers(copy_of(model))).to(pick_device(run.device)).requires_grad_(False).eval()
    settings = settings_of(epochs, learning_rate, **knobs)
    rises = replacing == "linear"
    before_step = partial(_replace, predecessor, seed=run.seed, rate=rate, replaced_by=replaced_by, rises=rises)
    goal = TrainingLoss({"labels": (1.0, labels)})
    student = train(keep_layers(model, kept), task=task, settings=settings, goal=goal, run=run, before_step=before_step)
    for layer in encoder_layers(student):
        vars(layer).pop("forward", None)  # the loop has taken back the last one
    student.requires_grad_(True)
    return student


def _replace(
    predecessor: nn.ModuleList,
    student: PreTrainedModel,
    step: int,
    total: int,
    *,
    seed: int,
    rate: float,
    replaced_by: float,
    rises: bool,
) -> None:
    """Draw which layers stand in for their groups in this step; only the layers of the successor learn."""
    layers = encoder_layers(student)
    group = len(predecessor) // len(layers)
    probability = min(1.0, rate + (1 - rate) * step / max(1.0, replaced_by * total)) if rises else rate
    random = np.random.default_rng((seed, step))
    replaced = random.random(len(layers)) < probability
    if not replaced.any():
        replaced[random.integers(len(layers))] = True
    student.requires_grad_(False)
    for index, layer in enumerate(layers):
        layer.requires_grad_(True)
        own = predecessor[group * index : group * (index + 1)]
        vars(layer)["forward"] = _forward(layer, None if replaced[index] else own)


def _forward(layer: Any, predecessor: nn.ModuleList | None) -> Callable[..., Any]:
    """What the layer computes: its own, or in training what the predecessor's layers do in its place."""

    def forward(hidden_states: torch.Tensor, *args: Any, **options: Any) -> Any:
        if predecessor is None or not layer.training:
            return type(layer).forward(layer, hidden_states, *args, **options)
        for module in predecessor:
            output = module(hidden_states, *args, **options)
            hidden_states = output[0] if isinstance(output, tuple) else output
        return output

    return forward
