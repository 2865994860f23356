"""Texts between two texts: the words' vectors of a batch mixed, which student and teacher read alike (MixKD)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.factors import word_table
from compress.models.families import longest_text
from compress.models.spelled import spelled_of
from compress.objectives.outputs import Batch, Outputs
from compress.training.answers import Answers, LiveAnswers
from compress.training.objective_fit import check_vocabularies
from compress.training.training_loss import Term, TrainingLoss

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

ALPHA = 0.4
"""Of the Beta distribution that a batch's weight is drawn from; the upper end of what Zhang et al. 2018 use."""
MIXED = frozenset({"labels", "logits", "logit_mse"})
"""Objectives that are told what is true of a mixed text: of the teacher, or of two labels by their weights."""


@dataclass
class Mixup:
    """Mix each text of some batches with the one before it in the batch.

    Source: Liang et al. 2021, MixKD, arXiv 2011.00593, section 3; Zhang et al. 2018, mixup, arXiv 1710.09412.
    Differs: a batch is mixed instead of being learned from as it is, and not besides, so that an epoch costs no more of the
    student; each text keeps its own length, where the paper fills both up (batches are of like length).

    Args:
        share: Of the batches that are mixed, 0 to 1.
        weight: Of each text itself in the batch that is learned from; the other has the rest. None where it is not mixed.
        hooks: Are taken away in the end.
        watched: The student that learns.
    """

    share: float
    weight: float | None = None
    hooks: ExitStack = field(default_factory=ExitStack)
    watched: PreTrainedModel | None = None

    def __enter__(self) -> Mixup:
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.close()

    def watch(self, student: PreTrainedModel, step: int, total: int, *, mixup: float) -> None:
        """Let the student that is trained read mixed texts; it is the same one in every step."""
        if self.watched is not student:
            self.watched = student
            self.hooks.callback(word_table(student).register_forward_hook(self._drawn).remove)

    @property
    def before_step(self) -> Callable[[PreTrainedModel, int, int], None]:
        """What the loop calls; its keyword tells one run's checkpoint from another's."""
        return partial(self.watch, mixup=self.share)

    def _drawn(self, module: nn.Module, _: Any, vectors: torch.Tensor) -> torch.Tensor:
        """Draw whether and how a batch is mixed, and mix it; what is not learned from stays."""
        if not module.training:
            return vectors
        self.weight = None
        if torch.rand(()).item() < self.share and len(vectors) > 1:
            self.weight = torch.distributions.Beta(ALPHA, ALPHA).sample().item()
        return self.mixed(vectors)

    def mixed(self, vectors: torch.Tensor) -> torch.Tensor:
        """The words' vectors of a batch, (batch, length, width), by the weight that was drawn."""
        return vectors if self.weight is None else self.weight * vectors + (1 - self.weight) * vectors.roll(1, 0)

    def term(self, plain: Term, student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        """An objective on labels, of mixed texts by the weights of both labels."""
        if self.weight is None:
            return plain(student, teacher, batch)
        other = replace(batch, labels=batch.labels.roll(1, 0))
        return self.weight * plain(student, teacher, batch) + (1 - self.weight) * plain(student, teacher, other)

    def goal(self, goal: TrainingLoss, teacher: PreTrainedModel, task: Task) -> TrainingLoss:
        """The same loss, whose teacher reads what the student does."""
        encoded = task.read_by(teacher).encode(task.train.require("train"), teacher.tokenizer)
        terms = {
            name: (weight, partial(self.term, term) if name == "labels" else term)
            for name, (weight, term) in goal.terms.items()
        }
        answers = goal.teacher and MixedAnswers(self, goal.teacher, LiveAnswers(teacher, (), encoded))
        return replace(goal, terms=terms, teacher=answers)


@dataclass(frozen=True)
class MixedAnswers:
    """A teacher that answers mixed texts as they come, and others as it did before.

    Args:
        mixup: Tells how the batch was mixed that the student has just read.
        plain: Answers to texts as they are.
        live: The teacher itself.
    """

    mixup: Mixup
    plain: Answers
    live: LiveAnswers

    def outputs(self, indices: np.ndarray, inputs: Mapping[str, torch.Tensor], places: torch.Tensor | None = None) -> Outputs:
        """Let the teacher read the same mixture."""
        if self.mixup.weight is None:
            return self.plain.outputs(indices, inputs, places)
        hook = word_table(self.live.teacher).register_forward_hook(lambda _, __, vectors: self.mixup.mixed(vectors))
        try:
            return self.live.outputs(indices, inputs, places)
        finally:
            hook.remove()

    def moved(self, device: torch.device | str) -> None:
        """Move both."""
        self.plain.moved(device)
        self.live.moved(device)

    @property
    def identity(self) -> str:
        """That of the answers, and how many are mixed."""
        return f"{self.plain.identity} mixup {self.mixup.share}"


def check_mixup(
    method: str, objectives: Mapping[str, float], student: PreTrainedModel, teacher: PreTrainedModel | None, task: Task
) -> None:
    """Refuse what cannot be told what is true of a text between two texts.

    Raises:
        InputError: The kind of task, an objective, or a model is such.
    """
    head = task.rules.head
    if head.reads_tokens or head.gives_vectors or head.ranks:
        raise InputError(
            f"{method}.mixup mixes texts with one answer each, which those of {task.kind} do not have; leave it out."
        )
    for name in objectives:
        if name not in MIXED:
            raise InputError(
                f"{method}.mixup takes the objectives {', '.join(sorted(MIXED))} alone, not {name!r}; leave one out."
            )
    if teacher is None:
        raise InputError(f"{method}.mixup asks a teacher for answers to mixed texts, but nli teaches; leave it out.")
    check_vocabularies(f"{method}.mixup mixes", student, teacher)
    for who, model in (("student", student), ("teacher", teacher)):
        if spelled_of(model) is not None:
            raise InputError(
                f"{method}.mixup mixes rows of a word table, which the {who} computes from letters; leave it out."
            )
    most = longest_text(teacher.config)
    if most < task.max_length:
        raise InputError(
            f"{method}.mixup lets the teacher read what the student does, up to {task.max_length} tokens, but the teacher "
            f"reads {most} at most; give {method} max_length: {most}."
        )
