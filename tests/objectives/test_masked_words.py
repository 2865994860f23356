"""Cross-entropy of the words that were hidden, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from compress.objectives.masked_logits import masked_logits
from compress.objectives.masked_words import masked_words
from compress.objectives.outputs import Batch
from tests.objectives.rows import batch, close, outputs, softmax

PIECES = 7


def head(width: int) -> torch.nn.Linear:
    torch.manual_seed(5)
    return torch.nn.Linear(width, PIECES)


def hiding() -> Batch:
    """One token of the first example and two of the last are hidden."""
    hidden = torch.zeros(4, 5, dtype=torch.bool)
    hidden[0, 3] = hidden[3, 0] = hidden[3, 2] = True
    return replace(batch(), words=torch.arange(20).view(4, 5) % PIECES, hidden=hidden)


def answers(states: torch.Tensor, linear: torch.nn.Linear, masked: Batch) -> np.ndarray:
    assert masked.hidden is not None
    rows = states[masked.hidden].numpy().astype(np.float64)
    return rows @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def test_the_mean_runs_over_hidden_tokens() -> None:
    student, masked, linear = outputs(1, ("hidden", 2)), hiding(), head(6)
    assert masked.words is not None
    p = softmax(answers(student.states["hidden", 2], linear, masked))
    expected = -np.log(p[np.arange(3), masked.words[masked.hidden].numpy()]).mean()
    assert masked_words(student, outputs(2, ("hidden", 4)), masked, pairs=((2, 4),), head=linear).item() == close(expected)


def test_the_teacher_s_answers_are_learned_at_a_temperature_through_a_projection() -> None:
    """T² times the mean of sum p log(p / q) over hidden tokens; the student is narrower."""
    student, teacher, masked, linear = outputs(1, ("hidden", 2), width=4), outputs(2, ("hidden", 4)), hiding(), head(6)
    projection = torch.nn.Linear(4, 6)
    with torch.no_grad():
        wide = projection(student.states["hidden", 2])
    q, p = (softmax(answers(states, linear, masked) / 3) for states in (wide, teacher.states["hidden", 4]))
    expected = 9 * (p * np.log(p / q)).sum(-1).mean()
    loss = masked_logits(student, teacher, masked, pairs=((2, 4),), head=linear, projection=projection, temperature=3.0)
    assert loss.item() == close(expected)
    loss.backward()  # type: ignore[no-untyped-call]
    assert projection.weight.grad is not None
