"""Layers of a teacher find the student's nearest ones that are alive, in order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.objectives.outputs import Batch, Outputs
from compress.pruning.layer_matching import matched_layers, nearest_layers
from compress.pruning.structure_masks import StructureMasks
from tests.tiny_models import tiny_bert

ALL = [True] * 4


@pytest.mark.parametrize(
    ("errors", "alive", "expected"),
    [
        ([[1, 2, 3, 4], [4, 3, 2, 1]], ALL, [0, 3]),
        ([[4, 3, 2, 1], [4, 3, 1, 2]], ALL, [1, 2]),  # the nearest of the lower one lies above the other's
        ([[1, 9, 9, 9], [9, 1, 9, 9]], [False, True, True, True], [1, 1]),  # none alive below: the same again
        ([[1, 2, 3, 4], [1, 2, 3, 4]], [False, False, True, True], [2, 2]),
        ([[1, 2, 3, 4], [1, 2, 3, 4]], [False] * 4, [3, 3]),  # none alive at all: the last
        ([[5, 5, 5, 5]], ALL, [0]),
        ([[1, 2], [1, 2], [2, 1]], [True, True], [0, 0, 1]),  # more layers of the teacher than of the student
    ],
)
def test_nearest_layers_are_alive_and_in_order(errors: list[list[float]], alive: list[bool], expected: list[int]) -> None:
    assert nearest_layers(torch.tensor(errors).float(), alive) == expected


def test_only_the_nearest_layers_learn_and_padding_counts_nothing() -> None:
    """Two tokens of one sentence and one of another; teacher's layers are all 1 and all 5, the student's all 2, 4 and 9."""
    masks = StructureMasks(tiny_bert(layers=3), width=False, multiple_of=1, seed=1)
    masks.latest = masks.settled()
    said = [torch.full((2, 2, 16), value, requires_grad=True) for value in (2.0, 4.0, 9.0)]
    targets = {("hidden", layer): torch.full((2, 2, 16), value) for layer, value in ((2, 1.0), (4, 5.0))}
    for states in targets.values():
        states[1, 1] = 1e6
    batch = Batch(torch.zeros(2).long(), torch.tensor([[1, 1], [1, 0]]))
    student = Outputs(torch.zeros(2, 2), {("hidden", number): states for number, states in enumerate(said, 1)})
    projection = nn.Linear(16, 16, bias=False)
    nn.init.eye_(projection.weight)

    def loss(*closed: int) -> float:
        assert masks.latest is not None
        for index, neurons in enumerate(masks.latest.neurons):
            neurons.fill_(float(index not in closed))
        teacher = Outputs(torch.zeros(2, 2), targets)  # type: ignore[arg-type]
        distance = matched_layers(masks, projection, student, teacher, batch, layers=(2, 4), uses=(0, 1, 2))
        distance.backward()
        return distance.item()

    assert loss() == pytest.approx(1 + 1)
    assert [states.grad is not None for states in said] == [True, True, False]
    assert loss(1) == pytest.approx(1 + 9)
    assert loss(0) == pytest.approx(9 + 1)  # both of the teacher's have the second layer: 4 against 1 and 5
    assert loss(0, 1, 2) == pytest.approx(64 + 16)


def test_a_shared_layer_is_alive_wherever_it_runs() -> None:
    masks = StructureMasks(tiny_bert(layers=1), width=False, multiple_of=1, seed=1)
    masks.latest = masks.settled()
    states = {("hidden", number): torch.full((1, 1, 16), float(number)) for number in (1, 2, 3)}
    batch = Batch(torch.zeros(1).long(), torch.ones(1, 1))
    teacher = Outputs(torch.zeros(1, 2), {("hidden", 1): torch.full((1, 1, 16), 3.0)})
    student = Outputs(torch.zeros(1, 2), states)  # type: ignore[arg-type]
    assert matched_layers(masks, nn.Identity(), student, teacher, batch, layers=(1,), uses=(0, 0, 0)) == 0
