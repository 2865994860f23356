"""Learn the teacher's hidden states."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from compress.models.states import StateKind
from compress.objectives.layer_map import each_layer
from compress.objectives.outputs import Batch, Outputs, Pairs, mean_over

NEEDS: frozenset[str] = frozenset({"teacher", "hidden"})
PAIRS = each_layer
PROJECTS = True


def hidden(
    student: Outputs, teacher: Outputs | None, batch: Batch, *, pairs: Pairs, projection: nn.Module | None = None
) -> torch.Tensor:
    """Mean squared error between layers' outputs of student and teacher, padding left out.

    Mean over tokens that are no padding and over the teacher's width, then over the layers.

    Source: Jiao et al. 2020, TinyBERT, arXiv 1909.10351, equation 7; the projection is W_h.
    Differs: the mean runs over layers where TinyBERT sums, and leaves padding out, which its code counts.

    Args:
        student: Its hidden states are read.
        teacher: Its hidden states are read.
        batch: Its attention mask is read.
        pairs: Which layer of the student learns from which of the teacher.
        projection: From the student's width to the teacher's; None where they are equal.
    """
    assert teacher is not None
    errors = []
    for student_states, teacher_states in compared(student, teacher, batch, pairs, projection):
        errors.append(batch.token_mean((student_states - teacher_states).square().mean(-1)))
    return mean_over(errors, batch)


def compared(
    student: Outputs, teacher: Outputs, batch: Batch, pairs: Pairs, projection: nn.Module | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The hidden states of each pair of layers that counts in this step, the student's projected, both in float32; those of
    the first tokens alone where no others were computed."""
    for own, wanted in batch.taught(pairs):
        is_whole = ("hidden", own) in student.states and ("hidden", wanted) in teacher.states
        kind: StateKind = "hidden" if is_whole else "first"
        yield projected(student.states[kind, own], projection), teacher.states[kind, wanted].float()


def projected(states: torch.Tensor, projection: nn.Module | None) -> torch.Tensor:
    """The student's states in float32 and in the teacher's width."""
    return states.float() if projection is None else projection(states.float())
