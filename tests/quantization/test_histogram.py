"""Ranges chosen from a histogram are those that the values themselves would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from compress.quantization.histogram import CANDIDATES, HALF, Histogram, divergence

METHODS = ("min_max", "percentile", "entropy", "mse")


def of(*parts: np.ndarray | torch.Tensor | list[float]) -> Histogram:
    """A histogram that was given these values, one part after another."""
    made = Histogram()
    for part in parts:
        made.add(torch.as_tensor(np.asarray(part), dtype=torch.float32))
    return made


def bell(count: int = 50_000, seed: int = 3) -> np.ndarray:
    """Values of a normal distribution, as float32 holds them."""
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def middles(count: int, bins: int) -> np.ndarray:
    """Middles of bins, so that no rounding decides which bin holds them; `bins` are as many as there are from 0 to 1."""
    return (np.random.default_rng(5).integers(-bins, bins, count) + 0.5) / bins


def true_error(values: np.ndarray, low: float, high: float, symmetric: bool) -> float:
    """The mean squared error of rounding the values themselves to eight bits of this range."""
    scale = max(-low, high) / 127 if symmetric else (high - low) / 255
    zero = 0 if symmetric else round(-128 - low / scale)
    rounded = (np.clip(np.round(values / scale) + zero, -128, 127) - zero) * scale
    return float(((rounded - values.astype(np.float64)) ** 2).mean())


# -- counting


def test_values_are_counted_in_bins_of_one_width_around_0() -> None:
    values = np.concatenate([middles(20_000, 2048) * 4, [4.0, -4.0, 0.0]])
    counts, _ = np.histogram(values, 4096, (-4.0, 4.0))
    histogram = of(values)
    assert histogram.limit == 4.0
    assert (histogram.least, histogram.most) == (-4.0, 4.0)
    assert (histogram.counts == counts).all()


def test_a_wider_value_doubles_the_bins_and_keeps_every_count() -> None:
    """From 1 by way of 2 and 4 to 8; the counts are those of wide bins from the start, 1 itself in the bin that ends there."""
    parts = [np.array([1.0]), middles(5000, 2048), np.array([1.51]), -middles(9, 8) * 8 + 0.1, np.array([-7.9])]
    histogram, values = of(*parts), np.concatenate([[0.9999], *parts[1:]])
    counts, _ = np.histogram(values, 4096, (-8.0, 8.0))
    assert histogram.limit == 8.0
    assert histogram.counts.sum() == len(values)
    assert (histogram.counts == counts).all()


def test_parts_count_as_their_sum_whatever_their_shape() -> None:
    values = np.concatenate([[4.0], np.clip(bell(5999), -4, 4)])
    whole, parts = of(values), of(values[:1], values[1:1000].reshape(9, 111), values[1000:].reshape(5, 10, 100))
    assert (whole.counts == parts.counts).all()
    assert (whole.limit, whole.least, whole.most) == (parts.limit, parts.least, parts.most)


def test_bfloat16_values_are_counted_too() -> None:
    histogram = Histogram()
    histogram.add(torch.tensor([1.0, -0.5, 0.25], dtype=torch.bfloat16))
    assert histogram.counts.sum() == 3
    assert histogram.range("min_max", symmetric=False) == (-0.5, 1.0)


def test_zeros_before_and_after_other_values_are_counted_at_0() -> None:
    histogram = of(np.zeros(7), np.array([2.0]), np.zeros(5))
    assert histogram.counts[HALF] == 12
    assert histogram.counts[-1] == 1
    assert histogram.counts.sum() == 13


def test_memory_does_not_grow_with_the_count() -> None:
    histogram = of(bell(10))
    before = {name: getattr(value, "nbytes", 0) for name, value in vars(histogram).items()}
    for seed in range(20):
        histogram.add(torch.from_numpy(bell(20_000, seed) * 10**seed))
    assert {name: getattr(value, "nbytes", 0) for name, value in vars(histogram).items()} == before
    assert sum(before.values()) == 4096 * 8
    assert histogram.counts.sum() == 400_010


# -- ranges


@pytest.mark.parametrize(
    ("values", "symmetric", "expected"),
    [
        ([-1.0, 3.0], True, (-3, 3)),
        ([-1.0, 3.0], False, (-1, 3)),
        ([2.0, 3.0], False, (0, 3)),
        ([2.0, 3.0], True, (-3, 3)),
        ([-2.0, -5.0], False, (-5, 0)),
        ([-2.0, -5.0], True, (-5, 5)),
    ],
)
def test_min_max_holds_all_that_was_seen_and_0(values: list[float], symmetric: bool, expected: tuple[float, float]) -> None:
    assert of(values).range("min_max", symmetric=symmetric) == expected
    assert of(values[:1], values[1:]).range("min_max", symmetric=symmetric) == expected


@pytest.mark.parametrize("percentile", [51.0, 90.0, 99.0, 99.9, 99.99, 100.0])
def test_a_percentile_is_numpy_s_up_to_a_bin(percentile: float) -> None:
    values = bell() * np.float32(3)
    histogram = of(values)
    _, high = histogram.range("percentile", symmetric=True, percentile=percentile)
    expected = np.sort(np.abs(values))[math.ceil(round(percentile * len(values) / 100, 6)) - 1]
    assert 0 <= high - expected <= histogram.limit / HALF


def test_a_percentile_cuts_both_sides_at_one_size_and_no_side_further_than_it_reaches() -> None:
    """Of 100 sizes, 98 lie up to 1 and two beyond; the bin of 1 ends at 1 and that bin's width."""
    values = np.concatenate([np.linspace(-0.5, 1.0, 98), [8.0, 8.0]])
    histogram, bin_width = of(values), 8 / HALF
    assert histogram.range("percentile", symmetric=False, percentile=98.0) == (-0.5, pytest.approx(1.0, abs=bin_width))
    assert histogram.range("percentile", symmetric=False, percentile=98.1) == (-0.5, 8.0)
    low, high = of(-values).range("percentile", symmetric=False, percentile=98.0)
    assert (low, high) == (pytest.approx(-1.0, abs=bin_width), 0.5)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("outlier", [12.0, 40.0, 200.0])
def test_mse_cuts_outliers_where_the_true_error_is_least(symmetric: bool, outlier: float) -> None:
    """The error is that of the values themselves; the best of a hundred cuts is found by trying all of them."""
    values = bell()
    values[:2] = outlier, -outlier / 2
    interval = of(values).range("mse", symmetric=symmetric)

    def cut(size: float) -> tuple[float, float]:
        return (-size, size) if symmetric else (max(-size, -outlier / 2), size)

    errors = [true_error(values, *cut(outlier * step / CANDIDATES), symmetric) for step in range(1, CANDIDATES + 1)]
    assert interval[1] < outlier
    assert true_error(values, *interval, symmetric) < (0.8 if symmetric else 0.95) * errors[-1]
    assert true_error(values, *interval, symmetric) <= 1.02 * min(errors)


def test_mse_keeps_a_uniform_distribution_whole() -> None:
    """Cutting it at 1 - e costs e**3 / 3 and saves e / 6 / 127**2, so that anything beyond half of a per cent is too much."""
    assert of(np.linspace(-1, 1, 20_001)).range("mse", symmetric=True) == (-1.0, 1.0)


@pytest.mark.parametrize("times", [2, 5, 10])
def test_entropy_cuts_a_far_outlier_off_and_keeps_the_rest(times: float) -> None:
    values = bell()
    edge = float(np.abs(values).max())
    values[0] = edge * times
    histogram = of(values)
    _, high = histogram.range("entropy", symmetric=True)
    assert 3 < high < 1.1 * edge  # 3 of a normal distribution's deviations hold 99.7 % of it
    assert histogram.range("entropy", symmetric=False) == (pytest.approx(-high, rel=0.1), high)


@pytest.mark.parametrize("outlier", [20.0, 50.0, 100.0, 300.0])
@pytest.mark.parametrize("at_once", [True, False])
def test_entropy_cuts_outliers_that_are_far_more_than_sixteen_times_the_rest(outlier: float, at_once: bool) -> None:
    """The rest then lies in fewer than 128 bins, each of which is one of the 128 steps of the narrowest cut."""
    rest, far = bell(100_000), [outlier, -outlier, 0.9 * outlier]
    histogram = of(np.concatenate([rest, far])) if at_once else of(rest, far)
    _, high = histogram.range("entropy", symmetric=True)
    edge, bin_width = float(np.abs(rest).max()), histogram.limit / HALF
    assert 3 < high <= edge + bin_width


@pytest.mark.parametrize("few", [1, 100])
def test_entropy_does_not_cut_where_the_bulk_is_far_out_and_a_few_lie_at_0(few: int) -> None:
    assert of(np.zeros(few), np.full(10_000, 5.0)).range("entropy", symmetric=True)[1] == pytest.approx(5.0, rel=0.02)


def test_entropy_keeps_a_uniform_distribution() -> None:
    """No cut tells it worse than 128 even steps over all of it; two widths are tried, a hundredth apart."""
    assert of(np.linspace(-1, 1, 50_001)).range("entropy", symmetric=True) == pytest.approx((-1.0, 1.0), abs=0.011)


@pytest.mark.parametrize(
    ("method", "symmetric", "value"),
    [
        (method, symmetric, value)
        for method in METHODS
        for symmetric in (True, False)
        for value in (5.0, -0.003, 1e-20, 3e30)
        if (method, symmetric, value) != ("mse", False, -0.003)
    ],
)
def test_a_constant_is_held_by_its_range(method: str, symmetric: bool, value: float) -> None:
    value = float(np.float32(value))
    size = abs(value)
    interval = (-size, size) if symmetric else (min(value, 0.0), max(value, 0.0))
    assert of(np.full(99, value)).range(method, symmetric=symmetric) == pytest.approx(interval, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_all_zeros_have_the_range_0(method: str, symmetric: bool) -> None:
    assert of(np.zeros(50), np.zeros(3)).range(method, symmetric=symmetric) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_no_range_is_wider_than_what_was_seen(method: str, symmetric: bool) -> None:
    values = bell(3000) * 3 + 1
    low, high = of(values).range(method, symmetric=symmetric)
    size = np.abs(values).max()
    assert (-size if symmetric else values.min()) <= low < 0 < high <= (size if symmetric else values.max())


# -- divergence


def test_divergence_by_hand() -> None:
    """(1/2, 1/2) told by (3/4, 1/4), and (1, 0) by (1/2, 1/2)."""
    assert divergence(np.array([5, 5]), np.array([3, 1])) == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert divergence(np.array([7, 0]), np.array([2, 2])) == pytest.approx(math.log(2))
    assert divergence(np.array([1, 2, 3]), np.array([2, 4, 6])) == 0


@pytest.mark.parametrize(("reference", "candidate"), [([1, 1], [1, 0]), ([1, 1], [0, 0]), ([0, 0], [1, 1])])
def test_divergence_is_infinite_where_something_is_missing(reference: list[int], candidate: list[int]) -> None:
    assert divergence(np.array(reference), np.array(candidate)) == math.inf
