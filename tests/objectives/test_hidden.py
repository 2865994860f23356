"""Mean squared error between hidden states."""

from __future__ import annotations

import pytest
import torch

from compress.errors import InputError
from compress.objectives.hidden import hidden
from compress.objectives.outputs import Batch, Outputs


def states(*values: float, width: int = 2, tokens: int = 3) -> Outputs:
    """One example whose hidden state of each layer is one number everywhere; the embeddings' output first."""
    return Outputs(torch.zeros(1, 2), tuple(torch.full((1, tokens, width), value) for value in values))


def mask(*rows: list[int]) -> Batch:
    return Batch(torch.zeros(len(rows), dtype=torch.long), torch.tensor(rows))


def test_the_value_worked_out_by_hand() -> None:
    """Embeddings differ by 1, layer 1 by 2, layer 2 by 3: the mean of 1, 4 and 9."""
    found = hidden(states(1.0, 2.0, 3.0), states(2.0, 4.0, 6.0), mask([1, 1, 1]))
    assert found.item() == pytest.approx(14 / 3)


def test_padding_is_left_out_of_sum_and_count() -> None:
    student = Outputs(torch.zeros(2, 2), (torch.zeros(2, 3, 2),))
    wanted = torch.tensor([[[1.0, 1.0], [2.0, 0.0], [99.0, 99.0]], [[3.0, 3.0], [99.0, 99.0], [99.0, 99.0]]])
    found = hidden(student, Outputs(torch.zeros(2, 2), (wanted,)), mask([1, 1, 0], [1, 0, 0]))
    assert found.item() == pytest.approx((1 + 1 + 4 + 0 + 9 + 9) / (3 * 2))


@pytest.mark.parametrize(("student_layers", "teacher_layers", "learned_from"), [
    (2, 2, [0, 1, 2]), (2, 6, [0, 3, 6]), (3, 6, [0, 2, 4, 6]), (3, 12, [0, 4, 8, 12]), (1, 4, [0, 4]),
    (4, 6, [0, 2, 3, 4, 6]),
])  # fmt: skip
def test_each_layer_learns_from_the_teacher_s_at_the_same_height(
    student_layers: int, teacher_layers: int, learned_from: list[int]
) -> None:
    """Teacher's layer n holds n, and the student's layer j what it should learn: any other mapping gives more than 0."""
    teacher = states(*(float(index) for index in range(teacher_layers + 1)))
    student = states(*(float(index) for index in learned_from))
    assert len(learned_from) == student_layers + 1
    assert hidden(student, teacher, mask([1, 1, 1])).item() == 0


def test_half_precision_states_are_compared_in_float32() -> None:
    student = Outputs(torch.zeros(1, 2), (torch.full((1, 2, 2), 300.0, dtype=torch.float16),))
    found = hidden(student, Outputs(torch.zeros(1, 2), (torch.zeros(1, 2, 2),)), mask([1, 1]))
    assert found.item() == pytest.approx(90_000)  # more than float16 holds


def test_other_widths_are_refused() -> None:
    with pytest.raises(InputError, match=r"width 2 \(student\) with 4 \(teacher\); they must be equal"):
        hidden(states(0.0, 0.0), states(0.0, 0.0, width=4), mask([1, 1, 1]))
