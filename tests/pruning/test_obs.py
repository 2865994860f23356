"""Pruning a Linear's inputs finds the weights of least error, whose error it tells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from compress.pruning.obs import DAMPING, FLUSH, Inputs, damped_root, snapshots


def _case(inputs: int = 8, rows: int = 60, outputs: int = 5, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight, a bias, and rows of correlated inputs about another mean than 0, in double precision."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, inputs, generator=random, dtype=torch.float64)
    rows_ = torch.randn(rows, inputs, generator=random, dtype=torch.float64) @ mixed + mixed[0]
    weight = torch.randn(outputs, inputs, generator=random, dtype=torch.float64)
    return weight, torch.randn(outputs, generator=random, dtype=torch.float64), rows_


def _told(rows: torch.Tensor) -> Inputs:
    inputs = Inputs(rows.shape[1])
    for part in rows.split(7):
        inputs.add(part)
    return inputs


def _refit(weight: torch.Tensor, bias: torch.Tensor, rows: torch.Tensor, columns: list[int]) -> tuple[np.ndarray, float]:
    """The least squares fit of the answers on some of the inputs and a constant, and its share of the answers' spread."""
    answers = (rows @ weight.T + bias).numpy()
    given = np.concatenate([rows[:, columns].numpy(), np.ones((len(rows), 1))], axis=1)
    fitted, *_ = np.linalg.lstsq(given, answers, rcond=None)
    spread = ((answers - answers.mean(0)) ** 2).sum()
    return fitted.T, float(((given @ fitted - answers) ** 2).sum() / spread)


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_left_is_the_least_squares_fit_and_the_error_is_its_error(size: int) -> None:
    weight, bias, rows = _case()
    fits = snapshots(weight, bias, _told(rows), counts=range(0, 8 // size + 1), size=size, damping=0.0)
    assert sorted(fits) == list(range(0, 8 // size + 1))
    for count, fit in fits.items():
        columns = [group * size + number for group in fit.keep for number in range(size)]
        assert len(fit.keep) == count
        assert list(fit.keep) == sorted(set(fit.keep))
        fitted, error = _refit(weight, bias, rows, columns)
        np.testing.assert_allclose(fit.weight, fitted[:, :-1], atol=1e-8)
        np.testing.assert_allclose(fit.bias, fitted[:, -1], atol=1e-8)
        assert fit.error == pytest.approx(error, abs=1e-10)


@pytest.mark.parametrize("size", [1, 2])
def test_the_first_to_go_is_the_one_whose_loss_is_least(size: int) -> None:
    weight, bias, rows = _case(seed=4)
    groups = 8 // size
    fit = snapshots(weight, bias, _told(rows), counts=[groups - 1], size=size, damping=0.0)[groups - 1]
    errors = {}
    for keep in itertools.combinations(range(groups), groups - 1):
        columns = [group * size + number for group in keep for number in range(size)]
        errors[keep] = _refit(weight, bias, rows, columns)[1]
    assert fit.keep == min(errors, key=errors.__getitem__)


def test_many_columns_go_one_by_one_as_if_each_were_taken_alone() -> None:
    """More than are updated together, so that what waits for its update is right."""
    width = 2 * FLUSH + 9
    weight, bias, rows = _case(width, rows=3 * width)
    inputs = _told(rows)
    together = snapshots(weight, bias, inputs, counts=[5], damping=0.0)[5]
    by_one = snapshots(weight, bias, inputs, counts=range(5, width), damping=0.0)[5]
    assert together.keep == by_one.keep
    torch.testing.assert_close(together.weight, by_one.weight)
    np.testing.assert_allclose(together.weight, _refit(weight, bias, rows, list(together.keep))[0][:, :-1], atol=1e-5)


def test_all_is_what_it_was_and_none_answers_with_the_mean() -> None:
    weight, bias, rows = _case()
    fits = snapshots(weight, bias, _told(rows), counts=[0, 8])
    assert torch.equal(fits[8].weight, weight)
    assert torch.equal(fits[8].bias, bias)
    assert fits[8].error == 0.0
    assert fits[0].keep == ()
    assert fits[0].weight.shape == (5, 0)
    torch.testing.assert_close(fits[0].bias, (rows @ weight.T + bias).mean(0))
    assert fits[0].error == 1.0


def test_inputs_that_never_move_go_first_and_cost_nothing() -> None:
    weight, bias, rows = _case()
    rows[:, [2, 5]] = torch.tensor([0.0, 3.0], dtype=torch.float64)
    fit = snapshots(weight, bias, _told(rows), counts=[6], damping=0.0)[6]
    assert fit.keep == (0, 1, 3, 4, 6, 7)
    assert fit.error == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(rows[:, list(fit.keep)] @ fit.weight.T + fit.bias, rows @ weight.T + bias)


def test_of_two_inputs_that_are_one_and_the_same_only_one_goes_for_nothing() -> None:
    weight, bias, rows = _case()
    rows[:, 3] = rows[:, 6]
    fits = snapshots(weight, bias, _told(rows), counts=[7, 6], damping=1e-9)
    assert len({3, 6} & set(fits[7].keep)) == 1
    assert fits[7].error == pytest.approx(0.0, abs=1e-6)
    assert fits[6].error > 1e-3


def test_fewer_rows_than_inputs_are_enough() -> None:
    weight, bias, rows = _case(12, rows=4)
    fits = snapshots(weight.float(), bias.float(), _told(rows), counts=range(13))
    assert all(torch.isfinite(fit.weight).all() for fit in fits.values())
    assert fits[3].error < 0.5


def test_rows_count_as_often_as_their_weight_says() -> None:
    _, _, rows = _case()
    twice, weighted = Inputs(8), Inputs(8)
    weighted.add(rows, weight=2.0)
    for _ in range(2):
        twice.add(rows)
    torch.testing.assert_close(weighted.centred(), twice.centred())
    torch.testing.assert_close(weighted.mean, rows.mean(0))


def test_products_without_a_root_get_one_that_is_near() -> None:
    """Rounding in float32 leaves products of few rows a negative eigenvalue."""
    column = torch.arange(1.0, 5.0, dtype=torch.float64)
    products = torch.outer(column, column) - 0.05 * torch.eye(4, dtype=torch.float64)
    assert torch.linalg.eigvalsh(products)[0] < -DAMPING * products.diagonal().mean()
    root = damped_root(products, DAMPING, float(products.diagonal().mean()))
    assert torch.equal(root, root.tril())
    off = root @ root.T - products
    assert torch.allclose(off, off[0, 0] * torch.eye(4, dtype=torch.float64))
    assert 0.05 < off[0, 0] < 1.0
    whole = damped_root(torch.eye(3, dtype=torch.float64), DAMPING, 1.0)
    assert torch.allclose(whole @ whole.T, (1 + DAMPING) * torch.eye(3, dtype=torch.float64))
