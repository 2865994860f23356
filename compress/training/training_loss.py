"""What the loop makes small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from compress.models.states import State
from compress.objectives.outputs import Batch, Outputs
from compress.training.answers import Answers

Term = Callable[[Outputs, Outputs | None, Batch], torch.Tensor]


@dataclass(frozen=True)
class TrainingLoss:
    """What to make small: a weighted sum of objectives.

    Args:
        terms: Objective -> (weight, function).
        states: The student's states that they read.
        teacher: What it answers, for objectives that look at it.
        learned: What is trained beside the student, by objective: projections to the teacher's width.
        teaches_logits: Whether any of them teaches the logits, so that the selection metric can pick the epoch; otherwise the
            last one is kept.
        stages: Into how many parts training is cut, of which each teaches one layer of the student; 0 for none.
        mlm_probability: Fraction of the words that are hidden from student and teacher, anew in each step.
        rates: Highest learning rates of parameters with one of their own, by how their names end; these are not decayed.
        picks_from: Fraction of the steps before which no epoch is picked, since the model is not yet what it is to be.
        compares_answering: Whether they read which tokens are answering, see `Batch`.
    """

    terms: Mapping[str, tuple[float, Term]]
    states: frozenset[State] = frozenset()
    teacher: Answers | None = None
    learned: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    teaches_logits: bool = True
    stages: int = 0
    mlm_probability: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    picks_from: float = 0.0
    compares_answering: bool = False

    def spelled(self) -> str:
        """Spell out what tells one loss from another, for checkpoints."""
        terms = sorted((name, weight, getattr(term, "keywords", {})) for name, (weight, term) in self.terms.items())
        return f"{terms} {sorted(self.rates.items())} {self.picks_from}"
