"""Which of many texts are like those of a task, by what a model makes of them."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from compress.disk import lock_of, write_lasting
from compress.errors import InputError
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.families import longest_text
from compress.models.layout import encoder_layers
from compress.models.states import State
from compress.tasks import texts
from compress.tasks.encoding import Encoded
from compress.tasks.split import Split
from compress.training.answers import answered
from compress.training.batches import sorted_batches
from compress.training.device import has_fast_bf16, pick_device
from compress.training.predict import BATCH_SIZE, on_device, precision
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

BLOCK = 4096
"""Texts that are compared with all others at once: with 100,000 others 1.6 GB of products."""


@dataclass(frozen=True)
class NearTask:
    """Choose those texts of a pool that are nearest to a task's training texts.

    Source: Du et al. 2021, "Self-training Improves Pre-training for Natural Language Understanding" (SentAugment),
    arXiv 2010.02194, section 3.1; the vectors are of the task's own teacher here, and not of a general embedder.

    Args:
        model: Gives the vectors.
        count: Nearest of each training text; one that is near to several is taken once.
    """

    model: PreTrainedModel
    count: int

    def check(self, method: str, task: Task) -> None:
        """Refuse kinds of tasks whose training rows have no vector of their own.

        Raises:
            InputError: This is one.
        """
        if task.rules.head.writes or task.train.passages is not None:
            raise InputError(
                f"{method}.nearest compares vectors of texts, which a model for {task.kind} has not; leave it out."
            )

    def chosen(self, method: str, pool: Split, task: Task, run: StepContext) -> Split:
        """Part of the pool, in its order.

        Args:
            method: Who asks.
            pool: Texts without labels, or pairs of texts.
            task: Its training part is looked at.
            run: Device, progress, and the folder where vectors are kept for other runs.

        Raises:
            InputError: The pool's rows are not what the task's are.
        """
        if (pool.pairs is None) != (task.train.pairs is None):
            ours, theirs = ("pairs" if split.pairs else "single texts" for split in (task.train, pool))
            raise InputError(f"{method}.nearest compares {ours} of the task with {theirs} of {method}.text; give {ours}.")
        vectors, others = (text_vectors(split, task.max_length, self.model, run) for split in (task.train, pool))
        places = np.unique(nearest(vectors, others, min(self.count, len(pool))))
        logger.info("%d of %d texts are among the %d nearest of a training text.", len(places), len(pool), self.count)
        return pool.pick(places)


def nearest(vectors: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """The places of the `count` of `others`, (others, width), with the largest cosine to each vector, (vectors, width).

    Every one is compared with every other, in blocks; of those that are equally near, the first.

    Returns:
        Places, (vectors, count), the nearest first.
    """
    units, wanted = _units(vectors), _units(others)
    blocks = []
    for start in range(0, len(units), BLOCK):
        products = units[start : start + BLOCK] @ wanted.T
        blocks.append(np.argsort(-products, axis=1, kind="stable")[:, :count])
    return np.concatenate(blocks) if blocks else np.zeros((0, count), dtype=np.int64)


def text_vectors(split: Split, max_length: int, model: PreTrainedModel, run: StepContext) -> np.ndarray:
    """The mean over each text's tokens of a model's last states, (texts, width); kept on disk where a step keeps anything.

    Args:
        split: Texts, or pairs that are read as one.
        max_length: Tokens of each to read.
        model: Stays as it is.
        run: Device, progress, and where vectors are kept.

    Raises:
        InputError: The model has no layers, whose states these are.
    """
    if not len(encoder_layers(model)):
        raise InputError(f"{model.label} has no layers, whose states tell which texts are near; let another model teach.")
    plain = replace(split, labels=np.zeros(len(split), dtype=np.int64), words=None)
    encoded = texts.encode(plain, model.tokenizer, min(max_length, longest_text(model.config)), "")
    if run.answers is None:
        return _computed(encoded, model, run)
    path = run.answers / f"vectors-{_key(encoded, model)}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(path.with_suffix(".lock")):
        known = _kept(path.read_bytes(), len(split)) if path.is_file() else None
        if known is None:
            known, file = _computed(encoded, model, run), io.BytesIO()
            np.save(file, known)
            write_lasting(path, file.getvalue())
    return known


def _computed(encoded: Encoded, model: PreTrainedModel, run: StepContext) -> np.ndarray:
    device = pick_device(run.device)
    state: State = ("hidden", len(encoder_layers(model)))
    vectors = np.zeros((len(encoded), model.config.hidden_size), dtype=np.float32)
    batches, was_training = sorted_batches(encoded.lengths, BATCH_SIZE), model.training
    model.to(device).eval()
    try:
        with precision(device, bf16=has_fast_bf16(device)):
            for done, indices in enumerate(batches, 1):
                inputs = on_device(encoded.batch(indices), device)
                states = answered(model, inputs, [state])[1][state].float()
                mask = inputs["attention_mask"][..., None].float()
                vectors[indices] = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()
                run.progress("vectors", done, len(batches))
    finally:
        model.cpu().train(was_training)
    return vectors


def _key(encoded: Encoded, model: PreTrainedModel) -> str:
    total = hashlib.sha256(fingerprint(model).encode())
    for row in encoded.input_ids:
        total.update(np.array([len(row), *row], dtype=np.int64).tobytes())
    return total.hexdigest()[:24]


def _kept(content: bytes, count: int) -> np.ndarray | None:
    """Vectors that were computed before; None where they are damaged."""
    try:
        vectors: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == count else None


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return units
