"""How many units are removed when, and which."""

from __future__ import annotations

import pytest
import torch

from compress.pruning.masks import masked_linears, with_masks
from compress.pruning.sparsity import count_removed, mean_open, ranked_together, removed_by, set_masks
from tests.tiny_models import tiny_bert


def test_the_fraction_rises_as_the_cubic_of_the_paper() -> None:
    """With N = 10 steps before the last, t_i = 2 and t_f = 3, v_i = 1 and v_f = 0.2 of which are left."""
    left = [0.2 + 0.8 * (1 - (min(max(t, 2), 7) - 2) / 5) ** 3 for t in range(11)]
    fractions = [removed_by(0.8, step, 11, 0.2, 0.7) for step in range(11)]
    assert fractions == pytest.approx([1 - fraction for fraction in left])
    assert fractions[:3] == [0, 0, 0]
    assert fractions[7:] == [0.8] * 4


@pytest.mark.parametrize("total", [1, 2, 3, 100])
def test_the_last_step_removes_all_of_it(total: int) -> None:
    assert removed_by(0.5, total - 1, total, 0.9, 1.0) == 0.5


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 0), (0.002, 1), (0.25, 64), (0.5, 128), (0.999, 255)])
def test_counts_are_rounded_and_half_a_per_cent_stays(fraction: float, count: int) -> None:
    mask = next(iter(masked_linears(with_masks(tiny_bert(), shape="weight"))))  # 16 x 16
    assert count_removed([mask], fraction) == count


def test_a_single_unit_always_stays() -> None:
    mask = next(iter(masked_linears(with_masks(tiny_bert(), shape="block", block=(8, 8)))))
    assert [count_removed([mask], fraction) for fraction in (0.1, 0.2, 0.5, 0.99)] == [0, 1, 2, 3]


def test_magnitude_removes_the_smallest_weights_of_each_matrix() -> None:
    student = with_masks(tiny_bert(), shape="weight")
    set_masks(student, "magnitude", 0.4)
    for mask, [(linear, _)] in masked_linears(student).items():
        sizes = linear.parametrizations.weight.original.abs()
        closed = round(0.4 * sizes.numel())
        assert (mask.kept == 0).sum() == closed
        assert torch.equal(mask.kept == 0, sizes <= sizes.flatten().sort().values[closed - 1])


def test_magnitude_of_a_head_is_the_norm_of_all_its_weights() -> None:
    student = with_masks(tiny_bert(), shape="head_row")
    layer = student.bert.encoder.layer[1]
    own = layer.attention.self
    with torch.no_grad():
        for linear in (own.query, own.key, own.value):
            linear.parametrizations.weight.original[4:8] *= 0.01
        layer.attention.output.dense.parametrizations.weight.original[:, 4:8] *= 3.0  # outweighs the three
    set_masks(student, "magnitude", 0.25)
    originals = [linear.parametrizations.weight.original for linear in (own.query, own.key, own.value)]
    parts = [weight.view(4, 4, 16).square().sum((1, 2)) for weight in originals]
    output = layer.attention.output.dense.parametrizations.weight.original.view(16, 4, 4).square().sum((0, 2))
    mask = own.query.parametrizations.weight[0].mask
    assert (mask.kept == 0).flatten().nonzero().tolist() == [[int((sum(parts) + output).argmin())]]
    assert layer.attention.output.dense.parametrizations.weight[0].mask is mask


def scored(shape: str) -> torch.nn.Module:
    """Masks whose scores are 0, 1, 2, ... in the first, and go on from there in the next."""
    student = with_masks(tiny_bert(), shape=shape, learned=True)  # type: ignore[arg-type]
    start = 0
    with torch.no_grad():
        for mask in masked_linears(student):
            count = mask.kept.numel()
            mask.scores.copy_(torch.arange(start, start + count).view_as(mask.kept))  # type: ignore[union-attr]
            start += count
    return student


def test_movement_removes_the_lowest_scores_of_each_matrix() -> None:
    student = scored("weight")
    set_masks(student, "movement", 0.5)
    for mask in masked_linears(student):
        half = mask.kept.numel() // 2
        assert mask.kept.flatten().tolist() == [0.0] * half + [1.0] * half


def test_soft_movement_compares_scores_over_all_layers_and_leaves_the_best_of_each() -> None:
    student = scored("weight")
    masks = list(masked_linears(student))
    sizes = [mask.kept.numel() for mask in masks]
    set_masks(student, "soft_movement", 0.5)
    opened = [int(mask.kept.sum()) for mask in masks]
    least = [max(1, round(0.005 * size)) for size in sizes]
    assert sum(sizes) - sum(opened) == round(0.5 * sum(sizes))
    assert opened[:5] == least[:5]
    assert opened[-5:] == sizes[-5:]
    assert masks[0].kept.flatten()[-1] == 1


def test_soft_movement_compares_heads_with_heads_and_neurons_with_neurons() -> None:
    student = scored("head_row")
    kinds = [[mask.kind for mask in group] for group in ranked_together(masked_linears(student), "soft_movement")]
    assert kinds == [["head"] * 2, ["neuron"] * 2]
    set_masks(student, "soft_movement", 0.5)
    assert [int(mask.kept.sum()) for mask in masked_linears(student)] == [1, 1, 3, 23]


def test_masks_open_again() -> None:
    student = scored("weight")
    set_masks(student, "movement", 0.9)
    set_masks(student, "movement", 0.0)
    assert all(mask.kept.all() for mask in masked_linears(student))


def test_equal_scores_are_removed_in_the_number_that_is_asked_for() -> None:
    student = with_masks(tiny_bert(), shape="weight", learned=True)
    set_masks(student, "movement", 0.25)
    assert all((mask.kept == 0).sum() == mask.kept.numel() // 4 for mask in masked_linears(student))


def test_the_penalty_is_the_mean_over_matrices_of_their_mean_sigmoids() -> None:
    student = with_masks(tiny_bert(layers=1), shape="head_row", learned=True)
    heads, neurons = masked_linears(student)
    with torch.no_grad():
        heads.scores.fill_(2.0)  # type: ignore[union-attr]
        neurons.scores[0] = -50.0  # type: ignore[index]
    expected = (1 / (1 + torch.exp(torch.tensor(-2.0))) + 0.5 * 23 / 24) / 2
    torch.testing.assert_close(mean_open([heads, neurons]), expected)
