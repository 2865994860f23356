"""Scales of heads and neurons, against numpy's least squares on residuals that are stacked token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.models.families import family_of
from compress.models.layout import encoder_layers, reads_first_token_only
from compress.models.surgery import copy_of, keep_heads, keep_neurons
from compress.pruning.gates import fold_gates, open_gates
from compress.pruning.reconstruction import fitted_scales
from tests.tiny_models import differences, state_of, tiny_bert, tiny_of, toy_task

HEADS, NEURONS = [[0, 1, 3], [1, 2]], [list(range(0, 24, 3)), list(range(4, 20))]
TASK = toy_task(train=40)


def encoded(model: PreTrainedModel) -> Any:
    return TASK.encode(TASK.train, model.tokenizer)


def student_and_teacher(kind: str = "bert") -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model with half of its heads and neurons, and the whole one."""
    teacher = tiny_of(kind)
    heads = [[0], [1]] if kind == "mobilebert" else HEADS
    return keep_neurons(keep_heads(teacher, heads), NEURONS), teacher


def read(model: PreTrainedModel, index: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What modules of a layer read, each sentence alone, (tokens, width); of the last layer the first token, where that is
    all that counts."""
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in names}
    first_alone = index == len(encoder_layers(model)) - 1 and reads_first_token_only(model)

    def see(name: str, values: torch.Tensor) -> None:
        arrays[name].append(values[0, : 1 if first_alone else None].double().numpy())

    layer = encoder_layers(model)[index]
    handles = [
        layer.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: see(name, inputs[0]))
        for name in names
    ]
    examples = encoded(model)
    with torch.no_grad():
        for row in range(len(examples)):
            model(**{name: torch.from_numpy(values) for name, values in examples.batch([row]).items()})
    for handle in handles:
        handle.remove()
    return {name: np.concatenate(rows) for name, rows in arrays.items()}


def least_squares(
    student: PreTrainedModel, teacher: PreTrainedModel, index: int, linear: str, norm: str, size: int
) -> np.ndarray:
    """Scales around 1 of the Linear's columns, in groups of `size`: the rows of every token, and below them the damping."""
    own, target = read(student, index, (linear, norm)), read(teacher, index, (norm,))
    weight = encoder_layers(student)[index].get_submodule(linear).weight.detach().double().numpy()
    answers = own[linear][:, None, :] * weight[None]  # (tokens, width, columns)
    answers = answers.reshape(*answers.shape[:2], -1, size).sum(-1).reshape(own[linear].shape[0] * len(weight), -1)
    missing = (target[norm] - own[norm]).reshape(-1)
    count = answers.shape[1]
    stacked = np.concatenate([answers, np.eye(count)]), np.concatenate([missing, np.zeros(count)])
    solution: np.ndarray = np.linalg.lstsq(*stacked, rcond=None)[0]
    return 1 + solution


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_scales_are_those_of_least_squares_one_part_after_the_other(kind: str) -> None:
    student, teacher = student_and_teacher(kind)
    family = family_of(student)
    before = state_of(student)
    heads, neurons = fitted_scales(student, teacher, encoded(student))
    assert not differences(before, state_of(student))
    own_heads, own_neurons = open_gates(student)
    assert torch.equal(heads[0], own_heads[0])
    parts = [
        (0, neurons, own_neurons, family.feed_forward[1], family.output_norm, 1),
        (1, heads, own_heads, family.context, family.attention_norm, 4),
        (1, neurons, own_neurons, family.feed_forward[1], family.output_norm, 1),
    ]
    for index, scales, own, linear, norm, size in parts:
        scaled = fold_gates(student, own_heads, own_neurons)
        expected = least_squares(scaled, teacher, index, linear, norm, size)
        np.testing.assert_allclose(scales[index].numpy(), expected, rtol=2e-3, atol=2e-3)
        assert np.abs(expected - 1).max() > 0.05
        own[index] = scales[index]


def error(student: PreTrainedModel, teacher: PreTrainedModel, index: int) -> float:
    norm = family_of(student).output_norm
    return float(np.square(read(student, index, (norm,))[norm] - read(teacher, index, (norm,))[norm]).mean())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert"])
def test_layers_answer_more_as_the_teacher_s(kind: str) -> None:
    student, teacher = student_and_teacher(kind)
    scaled = fold_gates(student, *fitted_scales(student, teacher, encoded(student)))
    for index in range(2):
        assert error(scaled, teacher, index) < 0.98 * error(student, teacher, index)


def test_a_student_that_is_its_teacher_is_not_scaled() -> None:
    model = tiny_bert()
    for scales, ones in zip(fitted_scales(model, model, encoded(model)), open_gates(model), strict=True):
        for own, gate in zip(scales, ones, strict=True):
            assert torch.equal(own, gate)


def test_neurons_that_never_answer_keep_a_scale_of_1() -> None:
    student, teacher = student_and_teacher()
    student.config.hidden_act = "relu"
    layer: Any = encoder_layers(student)[0]
    layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
    with torch.no_grad():
        layer.intermediate.dense.weight[2], layer.intermediate.dense.bias[2] = 0.0, -1.0
    assert fitted_scales(student, teacher, encoded(student))[1][0][2] == 1


def test_scaling_ends_where_a_scale_is_too_large() -> None:
    """The first layer's neurons should answer fifty times as much; nothing behind them is scaled either."""
    student = tiny_bert()
    teacher = copy_of(student)
    with torch.no_grad():
        teacher.bert.encoder.layer[0].output.dense.weight.mul_(50)
    for scales, ones in zip(fitted_scales(student, teacher, encoded(student)), open_gates(student), strict=True):
        assert all(torch.equal(own, gate) for own, gate in zip(scales, ones, strict=True))


def test_scaling_that_ends_late_keeps_what_came_before() -> None:
    student, teacher = student_and_teacher()
    expected = fitted_scales(student, teacher, encoded(student))
    with torch.no_grad():
        teacher.bert.encoder.layer[1].output.dense.weight.mul_(200)
    heads, neurons = fitted_scales(student, teacher, encoded(student))
    assert torch.equal(neurons[0], expected[1][0])
    assert torch.equal(heads[1], expected[0][1])
    assert torch.equal(neurons[1], torch.ones(16))


def test_layers_without_heads_or_neurons_are_passed_over() -> None:
    teacher = tiny_bert(layers=3)
    student = keep_neurons(keep_heads(teacher, [[], [0, 1], []]), [list(range(9)), [], list(range(7))])
    heads, neurons = fitted_scales(student, teacher, encoded(student))
    assert [len(layer) for layer in heads] == [0, 2, 0]
    assert [len(layer) for layer in neurons] == [9, 0, 7]
    assert (neurons[2] - 1).abs().max() > 1e-3
