"""What an objective sees of a model and of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from compress.models.states import State
from compress.tasks import DEFAULT_KIND
from compress.tasks.by_group import by_group
from compress.tasks.kind import TaskKind, load_kind

Pairs = tuple[tuple[int, int], ...]
"""(layer of the student, layer of the teacher), counted from 1; 0 is the embeddings' output."""


@dataclass(frozen=True)
class Outputs:
    """What a model answers to a batch.

    Args:
        logits: (batch, outputs), or (batch, length, outputs) where the task has answers for tokens.
        states: What the objectives asked for, by kind and layer; see `compress.models.states`.
    """

    logits: torch.Tensor
    states: Mapping[State, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """The examples of one step.

    Args:
        labels: The targets, as the task's kind collates them; of text classification label ids, (batch,). Where there are
            groups, how relevant each example is stands first, (batch, ...).
        attention_mask: (batch, length), 1 for tokens and 0 for padding.
        stage: The layer of the student that learns now, where layers learn one after the other; None lets all of them learn.
        words: (batch, length), the pieces' ids before words were hidden; None where none are.
        hidden: (batch, length), which tokens were hidden.
        answering: (batch, length), the tokens whose outputs are ever read, where each token has outputs.
        rules: Of the task's kind.
        groups: The number of the group that each example is of, (batch,), where examples are compared with one another, as the
            passages of one query are.
        written: (batch, tokens), 1 for tokens of the texts that are given to a model that writes and 0 for padding; None of
            others. Its logits are for these tokens, and not for those that are read.
        masked: (1, places), 1 for each place that is masked, where those alone have logits and labels; None elsewhere.
    """

    labels: torch.Tensor
    attention_mask: torch.Tensor
    stage: int | None = None
    words: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    answering: torch.Tensor | None = None
    rules: TaskKind = field(default_factory=lambda: load_kind(DEFAULT_KIND))
    groups: torch.Tensor | None = None
    written: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def grouped(self, values: torch.Tensor) -> torch.Tensor:
        """Lay out what belongs to examples as they are compared: as it is, or a row for each group, (groups, most, ...)."""
        return values if self.groups is None else by_group(values, self.groups)[0]

    def compared(self, tokens: str) -> torch.Tensor:
        """Mark what is compared: tokens, (batch, length), "all" but padding, or those that are "answering"; or where `grouped`
        has examples, (groups, most)."""
        if self.groups is not None:
            return by_group(self.groups, self.groups)[1]
        if self.masked is not None:
            return self.masked
        if self.written is not None:
            return self.written
        if tokens == "all":
            return self.attention_mask
        assert self.answering is not None
        return self.answering

    def taught(self, pairs: Pairs) -> Pairs:
        """The pairs that count in this step; the embeddings learn with layer 1."""
        if self.stage is None:
            return pairs
        return tuple(pair for pair in pairs if max(1, pair[0]) == self.stage)

    def token_mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over tokens that are no padding; values of (batch, length), or of the first tokens alone, (batch, 1)."""
        mask = self.attention_mask[:, : values.shape[1]]
        return (values * mask).sum() / mask.sum()

    def row_mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over heads and over rows that belong to tokens that are no padding; values of (batch, heads, length)."""
        return (values * self.attention_mask[:, None]).sum() / (self.attention_mask.sum() * values.shape[1])

    def log_rows(self, scores: torch.Tensor) -> torch.Tensor:
        """Logarithms of each row's softmax in float32, padded columns left out; scores of (batch, heads, length, length)."""
        hidden = self.attention_mask[:, None, None] == 0
        return scores.float().masked_fill(hidden, torch.finfo(torch.float32).min).log_softmax(-1)

    def row_divergence(self, teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        """Mean Kullback-Leibler divergence of the student's rows from the teacher's; both are scores before the softmax,
        (batch, heads, length, length)."""
        teacher_rows, student_rows = self.log_rows(teacher), self.log_rows(student)
        return self.row_mean((teacher_rows.exp() * (teacher_rows - student_rows)).sum(-1))


def mean_over(errors: Iterable[torch.Tensor], batch: Batch) -> torch.Tensor:
    """The mean of the layers' errors; 0 where no layer learns in this step."""
    losses = list(errors)
    return torch.stack(losses).mean() if losses else torch.zeros((), device=batch.attention_mask.device)
