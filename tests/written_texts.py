"""A task of written texts and models for it: a word for a word, in another case and with a full stop."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import PreTrainedModel

from compress.methods.build_decoder import build_decoder
from compress.tasks.labelled import Task
from compress.tasks.split import Role, Split
from compress.tasks.written import as_targets
from compress.training.step_context import StepContext
from tests.tiny_models import LONGEST, WORDS, tiny_for

GERMAN = dict(
    zip(WORDS, ("ein", "der", "Film", "Plot", "sehr", "und", "war", "es", "gut", "fein", "schlecht", "fad"), strict=True)
)


def translated(text: str) -> str:
    """What is right for a text."""
    said = " ".join(GERMAN[word] for word in text.split())
    return f"{said[0].upper()}{said[1:]}."


def part(role: Role, count: int, seed: int) -> Split:
    """Texts of 2 to 7 words, each with its translation."""
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(WORDS, random.integers(2, 8))) for _ in range(count))
    return Split(role, texts, None, as_targets([translated(text) for text in texts]))


def writing_task(*, train: int = 60, others: int = 20, **changes: Any) -> Task:
    """The task."""
    parts: dict[str, Any] = {
        "train": part("train", train, 1),
        "selection": part("selection", others, 2),
        "calibration": part("calibration", others, 3),
        "evaluation": part("evaluation", others, 4),
    }
    values = {
        "name": "toy",
        "kind": "sequence-to-sequence",
        "labels": ("text",),
        "max_length": LONGEST,
        "metric": "bleu",
        "source": "made by the tests",
    }
    return Task(**{**values, **parts, **changes})


def tiny_writer(task: Task | None = None, *, seed: int = 3, **arguments: Any) -> PreTrainedModel:
    """A random model that reads with its encoder's words and writes with bytes and runs of bytes."""
    task = task or writing_task()
    arguments = {"layers": 2, "vocabulary": 290, "max_length": 20, **arguments}
    return build_decoder(tiny_for(task, seed=seed), task=task, run=StepContext(seed=seed), **arguments)
