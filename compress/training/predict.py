"""Run a model over examples, without gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.log import Progress, no_progress
from compress.models.first_token import first_token_only
from compress.models.heads import logits_of, output_count
from compress.tasks.encoding import Encoded, Gathered
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches

BATCH_SIZE = 64


def on_device(batch: dict[str, np.ndarray], device: str | torch.device) -> dict[str, torch.Tensor]:
    """The model's inputs as tensors on the device."""
    return {name: torch.from_numpy(values).to(device, non_blocking=True) for name, values in batch.items()}


def precision(device: str | torch.device, *, bf16: bool) -> AbstractContextManager[Any]:
    """Multiply in bfloat16 inside, or as the model's weights are."""
    return torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()


def predict(
    model: PreTrainedModel,
    encoded: Encoded,
    device: str | torch.device = "cpu",
    *,
    bf16: bool = False,
    progress: Progress = no_progress,
    what: str = "predict",
    share: tuple[int, int] = (0, 1),
) -> np.ndarray:
    """Compute a model's answers to every example, in the examples' order: (examples, outputs), or a row for each word.

    Args:
        model: Is put into evaluation mode for the call, and left as it was.
        encoded: The examples.
        device: Where the model is.
        bf16: Multiply in bfloat16.
        progress: Told after each batch.
        what: The name to show.
        share: (rank, processes): compute every `processes`-th batch only and leave the other rows 0.
    """
    was_training = model.training
    model.eval()
    answers = Gathered(encoded, output_count(model))
    batches = sorted_batches(encoded.lengths, BATCH_SIZE)[share[0] :: share[1]]
    with torch.inference_mode(), first_token_only(model), precision(device, bf16=bf16):
        for done, indices in enumerate(batches, 1):
            output = logits_of(model(**on_device(encoded.batch(indices), device)))
            answers.put(indices, output.float().cpu().numpy())
            progress(what, done, len(batches))
    model.train(was_training)
    assert answers.rows is not None
    return answers.rows


def settled_by(model: PreTrainedModel, task: Task) -> tuple[float, ...]:
    """What turns a model's outputs into answers, chosen on the task's selection part; empty where nothing is to be chosen."""
    task = task.read_by(model)
    if not task.rules.settles(task.selection):
        return ()
    encoded = task.encode(task.selection.require("selection"), model.tokenizer)
    return task.rules.settle(predict(model, encoded), encoded.labels)
