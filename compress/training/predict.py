"""Run a model over examples, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.log import Progress, no_progress
from compress.models.encoder_decoder import TorchWriter, search_with
from compress.models.first_token import first_token_only
from compress.models.heads import head_of, logits_of, output_count
from compress.models.masked_places import at_places
from compress.runtimes.writing import write
from compress.tasks.encoding import Encoded, Gathered
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches

BATCH_SIZE = 64
MASKED_OF = 4
"""So many times as many tokens fit into the memory where one in seven has outputs."""


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
    beams: int | None = None,
) -> np.ndarray:
    """Compute a model's answers to every example, in the examples' order: (examples, outputs), a row for each word, or the ids
    of what is written.

    Args:
        model: Is put into evaluation mode for the call, and left as it was.
        encoded: The examples.
        device: Where the model is.
        bf16: Multiply in bfloat16.
        progress: Told after each batch.
        what: The name to show.
        share: (rank, processes): compute every `processes`-th batch only and leave the other rows 0.
        beams: Of a model that writes; None takes the model's own.
    """
    was_training = model.training
    model.eval()
    encoded, answer = encoded.unwritten, _answering(model, device, beams)
    answers = Gathered(encoded, search_with(model).longest if head_of(model).writes else output_count(model))
    batches = sorted_batches(encoded.lengths, BATCH_SIZE, tokens=_tokens_at_once(encoded))[share[0] :: share[1]]
    of_pieces = head_of(model).of_pieces
    with torch.inference_mode(), first_token_only(model), precision(device, bf16=bf16):
        for done, indices in enumerate(batches, 1):
            batch = encoded.batch(indices)
            if of_pieces:
                places = torch.from_numpy(encoded.answered(indices, batch)).to(device)
                with at_places(model, places):
                    answers.put_rows(indices, answer(batch)[0])
            else:
                answers.put(indices, answer(batch))
            progress(what, done, len(batches))
    model.train(was_training)
    assert answers.rows is not None
    return answers.rows


def _tokens_at_once(encoded: Encoded) -> int | None:
    """Tokens of a batch of which those that are masked alone have outputs."""
    tokens = encoded.tokens_at_once
    return None if tokens is None else MASKED_OF * tokens


def _answering(
    model: PreTrainedModel, device: str | torch.device, beams: int | None
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """What turns a batch into answers."""
    if head_of(model).writes:
        writer, search = TorchWriter(model), search_with(model, beams)
        return lambda batch: write(writer, batch, search)
    return lambda batch: logits_of(model(**on_device(batch, device))).float().cpu().numpy()


def settled_by(model: PreTrainedModel, task: Task) -> tuple[float, ...]:
    """What turns a model's outputs into answers, chosen on the task's selection part; empty where nothing is to be chosen."""
    task = task.read_by(model)
    if not task.rules.settles(task.selection):
        return ()
    encoded = task.encode(task.selection.require("selection"), model.tokenizer)
    return task.rules.settle(predict(model, encoded), encoded.labels)
