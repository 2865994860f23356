"""The projection from a narrow student's states to its teacher's, begun where it fits best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.states import StateKind
from compress.objectives.outputs import Pairs
from compress.training.answers import answered
from compress.training.batches import sorted_batches
from compress.training.device import pick_device
from compress.training.predict import BATCH_SIZE, on_device, predict
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

EXAMPLES = 256
TEXTS = 1024
RIDGE = 1e-3


def fitted_projection(
    student: PreTrainedModel, teacher: PreTrainedModel, task: Task, pairs: Pairs, kind: StateKind, run: StepContext
) -> nn.Linear:
    """A Linear from the student's width to the teacher's that maps the states of some training examples by least squares.

    Source: Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equations 7 and 8 (W_h, W_e), one for all layers and with a bias, as
    its code has it.
    Differs: it begins with the ridge regression of the teacher's states on the student's, and not at random, so that the
    student is not pulled towards an arbitrary basis first.

    Args:
        student: Its states are read.
        teacher: Its states are read.
        task: Of its training part, the first 256 examples.
        pairs: Layers whose states are mapped.
        kind: "hidden" or "first".
        run: Device.
    """
    device = pick_device(run.device)
    examples = task.train.require("train").take(EXAMPLES)
    rows: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    models = (student, teacher)
    task = task.read_by(student).read_by(teacher)
    encoded = [task.encode(examples, model.tokenizer) for model in models]  # the same pieces, with token types or without
    was_training = [model.training for model in models]
    for model in models:
        model.to(device).eval()
    for indices in sorted_batches(encoded[0].lengths, BATCH_SIZE):
        for side, model in enumerate(models):
            inputs = on_device(encoded[side].batch(indices), device)
            valid = inputs["attention_mask"][:, : 1 if kind == "first" else None].bool()
            _, states = answered(model, inputs, [(kind, pair[side]) for pair in pairs])
            rows[side].extend(states[kind, pair[side]][valid].float().cpu() for pair in pairs)
    for model, training in zip(models, was_training, strict=True):
        model.cpu().train(training)
    return _regression(torch.cat(rows[0]).numpy(), torch.cat(rows[1]).numpy())


def fitted_to_vectors(student: PreTrainedModel, teacher: PreTrainedModel, task: Task, run: StepContext) -> nn.Linear:
    """A Linear from the student's vectors to the teacher's that maps those of some training texts by least squares.

    Source: Vujanic and Rueckstiess 2025, LEAF, arXiv 2509.12539, section 3.1 (the projection W).
    Differs: it begins with the ridge regression, and not at random.

    Args:
        student: Its vectors are read; stays as it is.
        teacher: Its vectors are read.
        task: Of its training part, the first 1,024 examples.
        run: Device.
    """
    device = pick_device(run.device)
    examples = task.train.require("train").take(TEXTS)
    rows = []
    for model in (student, teacher):
        read = task.read_by(model)
        rows.append(predict(model.to(device), read.encode(examples, model.tokenizer), device))
        model.cpu()
    return _regression(*rows)


def _regression(given: np.ndarray, wanted: np.ndarray) -> nn.Linear:
    centre, aim = given.mean(0), wanted.mean(0)
    centred = (given - centre).astype(np.float64)
    squares = centred.T @ centred
    squares += RIDGE * max(np.trace(squares) / len(squares), 1e-12) * np.eye(len(squares))
    weight = np.linalg.solve(squares, centred.T @ (wanted - aim))  # (student's width, teacher's width)
    with torch.random.fork_rng(devices=[]):
        projection = nn.Linear(*weight.shape)
    with torch.no_grad():
        projection.weight.copy_(torch.from_numpy(weight.T))
        projection.bias.copy_(torch.from_numpy(aim - centre @ weight))
    return projection
