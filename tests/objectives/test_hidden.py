"""Mean squared error between hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.objectives.hidden import hidden
from compress.objectives.outputs import Batch, Outputs
from tests.objectives.rows import batch, close, outputs, token_mean


def states(*values: float, width: int = 2, tokens: int = 3) -> Outputs:
    """One example whose hidden state of each layer is one number everywhere; the embeddings' output first."""
    return Outputs(torch.zeros(1, 2), {("hidden", n): torch.full((1, tokens, width), value) for n, value in enumerate(values)})


def mask(*rows: list[int]) -> Batch:
    return Batch(torch.zeros(len(rows), dtype=torch.long), torch.tensor(rows))


def test_the_value_worked_out_by_hand() -> None:
    """Layer 1 differs by 2, layer 2 by 3: the mean of 4 and 9."""
    loss = hidden(states(1.0, 2.0, 3.0), states(9.0, 4.0, 6.0), mask([1, 1, 1]), pairs=((1, 1), (2, 2)))
    assert loss.item() == pytest.approx(13 / 2)


def test_padding_is_left_out_of_sum_and_count() -> None:
    student = Outputs(torch.zeros(2, 2), {("hidden", 1): torch.zeros(2, 3, 2)})
    wanted = torch.tensor([[[1.0, 1.0], [2.0, 0.0], [99.0, 99.0]], [[3.0, 3.0], [99.0, 99.0], [99.0, 99.0]]])
    loss = hidden(student, Outputs(torch.zeros(2, 2), {("hidden", 4): wanted}), mask([1, 1, 0], [1, 0, 0]), pairs=((1, 4),))
    assert loss.item() == pytest.approx((1 + 1 + 4 + 0 + 9 + 9) / (3 * 2))


def test_each_layer_learns_from_its_own() -> None:
    student, teacher = outputs(1, ("hidden", 1), ("hidden", 2)), outputs(2, ("hidden", 3), ("hidden", 5))

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return ((own - wanted) ** 2).mean(-1)

    errors = [token_mean(error, student, teacher, ("hidden", own), ("hidden", wanted)) for own, wanted in ((1, 3), (2, 5))]
    assert hidden(student, teacher, batch(), pairs=((1, 3), (2, 5))).item() == close(np.mean(errors))


def test_where_first_tokens_alone_were_computed_these_are_compared() -> None:
    """Layer 1 differs by 2 at every token; layer 2 by 3 at the first ones, of which padding takes none."""
    student, teacher = states(1.0, 2.0), states(9.0, 4.0)
    students = Outputs(student.logits, {**student.states, ("first", 2): torch.full((1, 1, 2), 3.0)})
    teachers = Outputs(teacher.logits, {**teacher.states, ("first", 2): torch.full((1, 1, 2), 6.0)})
    loss = hidden(students, teachers, mask([1, 1, 0]), pairs=((1, 1), (2, 2)))
    assert loss.item() == pytest.approx((4 + 9) / 2)


def test_a_projection_carries_the_student_into_the_teacher_s_width() -> None:
    student, teacher = outputs(1, ("hidden", 1), width=3), outputs(2, ("hidden", 1), width=5)
    projection = torch.nn.Linear(3, 5)
    weight, bias = (parameter.detach().numpy() for parameter in (projection.weight, projection.bias))

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return ((own @ weight.T + bias - wanted) ** 2).mean(-1)

    loss = hidden(student, teacher, batch(), pairs=((1, 1),), projection=projection)
    assert loss.item() == close(token_mean(error, student, teacher, ("hidden", 1), ("hidden", 1)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert projection.weight.grad is not None


def test_only_the_layer_whose_turn_it_is_learns() -> None:
    student, teacher = states(0.0, 1.0, 5.0), states(0.0, 3.0, 5.5)
    pairs = ((1, 1), (2, 2))
    losses = [
        hidden(student, teacher, Batch(torch.zeros(1), torch.ones(1, 3), stage), pairs=pairs).item() for stage in (1, 2, 3)
    ]
    assert losses == pytest.approx([4, 0.25, 0])


def test_half_precision_states_are_compared_in_float32() -> None:
    student = Outputs(torch.zeros(1, 2), {("hidden", 1): torch.full((1, 2, 2), 300.0, dtype=torch.float16)})
    teacher = Outputs(torch.zeros(1, 2), {("hidden", 1): torch.zeros(1, 2, 2)})
    loss = hidden(student, teacher, mask([1, 1]), pairs=((1, 1),))
    assert loss.item() == pytest.approx(90_000)  # more than float16 holds
