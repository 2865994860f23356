"""Masks cover weights in units, gradients reach the scores, and zeros are burnt in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from compress.errors import InputError
from compress.models.layout import encoder_layers
from compress.models.surgery import copy_of, keep_heads, keep_neurons
from compress.pruning.masks import Mask, Masked, burn_in, masked_linears, with_masks
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of

WEIGHT = torch.arange(1.0, 25.0).view(4, 6)


def mask_of(kept: list[list[float]], *, learned: bool = True) -> Mask:
    units = torch.tensor(kept)
    mask = Mask(*units.shape, "block", learned=learned)
    mask.kept.copy_(units)
    return mask


@pytest.mark.parametrize(
    ("kept", "transposed", "mask"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], False, np.kron([[1, 0], [0, 1]], np.ones((2, 3)))),  # blocks of 2 x 3
        ([[0.0], [1.0]], False, np.kron([[0], [1]], np.ones((2, 6)))),  # two heads of two rows each
        ([[0.0], [1.0], [1.0]], True, np.kron([[0, 1, 1]], np.ones((4, 2)))),  # three heads of two columns each
        ([[1.0] * 6, [0.0] * 6, [1.0] * 6, [1.0] * 6], False, np.kron([[1], [0], [1], [1]], np.ones((1, 6)))),  # weights
    ],
)
def test_units_cover_the_weight(kept: list[list[float]], transposed: bool, mask: np.ndarray) -> None:
    masked = Masked(mask_of(kept), transposed=transposed)
    torch.testing.assert_close(masked(WEIGHT), WEIGHT * torch.tensor(mask, dtype=torch.float32))
    squares = masked.squares(WEIGHT)
    assert squares.shape == masked.mask.kept.shape
    closed = WEIGHT * (1 - torch.tensor(mask, dtype=torch.float32))
    assert (squares * (1 - masked.mask.kept)).sum() == closed.square().sum()
    assert squares.sum() == WEIGHT.square().sum()


def test_a_score_gets_the_sum_of_weight_times_gradient_closed_or_not() -> None:
    """Movement pruning's rule; the weight's own gradient passes where it is open alone."""
    weight, gradient = WEIGHT.clone().requires_grad_(), torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    mask = mask_of([[1.0, 0.0], [0.0, 1.0]])
    Masked(mask)(weight).backward(gradient)
    assert mask.scores is not None
    expected = (gradient * WEIGHT).view(2, 2, 2, 3).sum((1, 3))
    torch.testing.assert_close(mask.scores.grad, expected)
    torch.testing.assert_close(weight.grad, gradient * mask.kept.repeat_interleave(2, 0).repeat_interleave(3, 1))


def test_a_score_of_any_size_leaves_the_mask_exact() -> None:
    mask = mask_of([[1.0, 0.0]])
    with torch.no_grad():
        mask.scores.copy_(torch.tensor([[1e6 + 0.3, -7.1]]))  # type: ignore[union-attr]
    assert mask().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("shape", "block", "count"), [("weight", (1, 1), 12), ("block", (4, 2), 12), ("head_row", (1, 1), 4)])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_open_masks_change_nothing_and_the_model_is_left_alone(
    kind: str, shape: str, block: tuple[int, int], count: int
) -> None:
    model = tiny_of(kind)
    before = state_of(model)
    student = with_masks(model, shape=shape, block=block, learned=True)  # type: ignore[arg-type]
    batch = {"input_ids": torch.arange(5, 15).view(2, 5)}
    torch.testing.assert_close(logits_of(student, **batch), logits_of(model, **batch), rtol=0, atol=0)
    assert len(masked_linears(student)) == count
    burn_in(student)
    assert not differences(before, state_of(student))
    assert not differences(before, state_of(model))
    assert all(not parametrize.is_parametrized(module) for module in student.modules())


def test_only_the_linears_of_the_encoder_are_covered() -> None:
    student = with_masks(tiny_of("albert"), shape="weight")
    covered = {linear for linears in masked_linears(student).values() for linear, _ in linears}
    encoder = {module for layer in encoder_layers(student) for module in layer.modules() if isinstance(module, nn.Linear)}
    assert covered == encoder
    assert len(encoder) == 6


def test_a_closed_head_and_neuron_answer_like_a_model_without_them() -> None:
    model = tiny_bert()
    student = with_masks(model, shape="head_row")
    masks = list(masked_linears(student))
    assert [mask.kind for mask in masks] == ["head", "neuron"] * 2
    masks[0].kept[2] = 0
    masks[3].kept[[0, 5]] = 0
    burn_in(student)
    rest = [index for index in range(24) if index not in (0, 5)]
    expected = keep_neurons(keep_heads(model, [[0, 1, 3], [0, 1, 2, 3]]), [list(range(24)), rest])
    torch.testing.assert_close(logits_of(student), logits_of(expected))
    assert not student.bert.encoder.layer[0].attention.self.query.weight[8:12].any()


def test_burnt_in_zeros_have_no_sign() -> None:
    student = with_masks(tiny_bert(), shape="weight")
    for mask in masked_linears(student):
        mask.kept.zero_()
    burn_in(student)
    weight = student.bert.encoder.layer[0].output.dense.weight
    assert not weight.any()
    assert not weight.signbit().any()


def test_a_copy_keeps_its_own_masks() -> None:
    student = with_masks(tiny_bert(), shape="head_row", learned=True)
    again = copy_of(student)
    next(iter(masked_linears(again))).kept.zero_()
    assert next(iter(masked_linears(student))).kept.all()
    assert (
        len(
            {id(linear.parametrizations.weight[0].mask) for linears in masked_linears(again).values() for linear, _ in linears}
        )
        == 4
    )


def test_blocks_that_do_not_divide_are_all_refused_together() -> None:
    with pytest.raises(InputError, match=r"block 3 x 8 does not divide .*query, which is 16 x 16") as caught:
        with_masks(tiny_bert(), shape="block", block=(3, 8))
    assert str(caught.value).count("\n") == 9  # 16 rows are no multiple of 3, and 24 are: all but the first of the two Linears


def test_parts_that_are_gone_have_no_masks() -> None:
    model = keep_neurons(keep_heads(tiny_bert(), [[], [1]]), [[2], []])
    assert len(masked_linears(with_masks(model, shape="head_row"))) == 2
    assert len(masked_linears(with_masks(model, shape="weight"))) == 6
