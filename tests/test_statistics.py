from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from compress.statistics import (
    bootstrap_p,
    f1_resamples,
    holm,
    mcnemar_p,
    middle_95,
    paired_counts,
    paired_drop_interval,
    percentile,
    spread_of_means,
    wilson_interval,
)


def test_wilson_interval_of_two_standard_deviations_is_what_the_formula_gives_by_hand() -> None:
    # p = 0.9, n = 100, z = 2: middle (0.9 + 4/200) / 1.04, spread 2 sqrt(0.09/100 + 4/40000) / 1.04
    middle, spread = 0.92 / 1.04, 2 * math.sqrt(0.0009 + 0.0001) / 1.04
    assert wilson_interval(90, 100, math.erf(2 / math.sqrt(2))) == pytest.approx((middle - spread, middle + spread), abs=1e-12)


def test_wilson_interval_solves_the_score_equation_at_95_percent() -> None:
    low, high = wilson_interval(42, 60)
    for end in (low, high):
        assert abs(42 / 60 - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / 60), abs=1e-12)
    assert low < 0.7 < high


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (1, 2), (7, 9), (799, 872)])
def test_wilson_interval_is_what_the_formula_gives(right: int, total: int) -> None:
    share, square = right / total, 1.959963984540054**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    spread = math.sqrt(square * (share * (1 - share) / total + square / (4 * total**2))) / (1 + square / total)
    assert wilson_interval(right, total) == pytest.approx((middle - spread, middle + spread), abs=1e-12)


def test_wilson_interval_of_nothing_right_begins_at_zero() -> None:
    z_squared = 1.959963984540054**2
    assert wilson_interval(0, 10) == pytest.approx((0.0, z_squared / (10 + z_squared)), abs=1e-12)


def test_wilson_interval_of_everything_right_ends_at_one() -> None:
    z_squared = 1.959963984540054**2
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + z_squared), 1.0), abs=1e-12)


@pytest.mark.parametrize(("right", "total"), [(1, 0), (3, 2), (-1, 2)])
def test_wilson_interval_of_no_proportion_is_refused(right: int, total: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(right, total)


def test_paired_counts_count_the_examples_that_only_one_gets_right() -> None:
    baseline = np.array([True, True, True, False, False])
    other = np.array([True, False, False, True, False])
    assert paired_counts(baseline, other) == (2, 1, 5)


def test_paired_counts_of_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_counts(np.array([True]), np.array([True, False]))


def test_drop_interval_agrees_with_a_bootstrap_that_resamples_the_examples() -> None:
    lost, won, total = 30, 10, 400
    drops = np.repeat([1, -1, 0], [lost, won, total - lost - won])
    random = np.random.default_rng(0)
    resampled = [drops[random.integers(0, total, total)].mean() for _ in range(4000)]
    # The ends of two bootstraps differ by a few standard errors of a percentile: about 0.001 here.
    assert paired_drop_interval(lost, won, total) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.004)


def test_drop_interval_agrees_with_the_normal_approximation_for_many_examples() -> None:
    lost, won, total = 600, 400, 10_000
    error = math.sqrt((lost + won) / total - ((lost - won) / total) ** 2) / math.sqrt(total)
    expected = (0.02 - 1.96 * error, 0.02 + 1.96 * error)
    assert paired_drop_interval(lost, won, total) == pytest.approx(expected, abs=4e-4)


def test_drop_interval_of_equal_answers_is_a_point() -> None:
    assert paired_drop_interval(0, 0, 50) == (0.0, 0.0)


def test_drop_interval_of_a_total_loss_is_a_point() -> None:
    assert paired_drop_interval(50, 0, 50) == (1.0, 1.0)


def test_drop_interval_is_the_same_each_time() -> None:
    assert paired_drop_interval(9, 4, 100) == paired_drop_interval(9, 4, 100)


@pytest.fixture
def judged() -> list[np.ndarray]:
    """Labels and the answers of two models, right in nine and in eight of ten examples."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 400)
    return [labels, *(np.where(random.random(400) < share, labels, 1 - labels) for share in (0.9, 0.8))]


def test_resampled_f1_is_that_of_examples_drawn_one_by_one(judged: list[np.ndarray]) -> None:
    """Means and percentiles of the draws agree with those of the plain bootstrap, F1 by scikit-learn."""
    from sklearn.metrics import f1_score

    resamples, random = f1_resamples(*judged), np.random.default_rng(1)
    rows = [random.integers(0, 400, 400) for _ in range(600)]
    for draws, answers in zip(resamples, judged[1:], strict=True):
        plain = np.array([f1_score(judged[0][row], answers[row]) for row in rows])
        assert draws.mean() == pytest.approx(plain.mean(), abs=0.003)
        assert middle_95(draws) == pytest.approx(middle_95(plain), abs=0.008)


def test_models_are_resampled_together(judged: list[np.ndarray]) -> None:
    labels, answers, _ = judged
    first, again = f1_resamples(labels, answers, answers)
    assert np.array_equal(first, again)
    assert first.std() > 0


def test_f1_of_no_answer_and_no_label_one_is_zero() -> None:
    assert not f1_resamples(np.zeros(5, dtype=int), np.zeros(5, dtype=int)).any()


def test_mcnemar_p_is_the_sum_of_binomial_terms() -> None:
    # 1 against 5 of 6: 2 (C(6,0) + C(6,1)) / 2^6 = 14 / 64
    assert mcnemar_p(5, 1) == pytest.approx(14 / 64, abs=1e-12)
    assert mcnemar_p(1, 5) == pytest.approx(14 / 64, abs=1e-12)


def test_mcnemar_p_of_an_even_split_is_one() -> None:
    assert mcnemar_p(4, 4) == pytest.approx(1.0)


def test_mcnemar_p_without_any_difference_is_one() -> None:
    assert mcnemar_p(0, 0) == 1.0


def test_mcnemar_p_of_one_sided_losses_halves_with_each_one() -> None:
    assert mcnemar_p(10, 0) == pytest.approx(2 / 2**10, abs=1e-12)


def test_percentile_interpolates_between_neighbours() -> None:
    # position 0.95 * (5 - 1) = 3.8: four fifths of the way from the fourth to the fifth
    assert percentile([50.0, 10.0, 40.0, 20.0, 30.0], 95) == pytest.approx(48.0)
    assert percentile([3.0, 1.0, 2.0, 4.0], 50) == pytest.approx(2.5)


@pytest.mark.parametrize("percent", [0, 5, 33.3, 50, 95, 100])
def test_percentile_is_the_inclusive_one_of_the_standard_library(percent: float) -> None:
    samples = [2.5, 0.1, 9.75, 4.0, 4.0, 7.5, 1.25]
    cuts = [min(samples), *statistics.quantiles(samples, n=1000, method="inclusive"), max(samples)]
    assert percentile(samples, percent) == pytest.approx(cuts[round(percent * 10)])


def test_every_percentile_of_one_sample_is_that_sample() -> None:
    assert [percentile([7.0], percent) for percent in (0, 50, 100)] == [7.0, 7.0, 7.0]


def test_holm_multiplies_the_smallest_p_by_their_number_and_the_next_by_one_less() -> None:
    # sorted 0.01, 0.03, 0.04: times 3, 2, 1 is 0.03, 0.06, 0.04, and the last is no smaller than the one before it
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_of_one_leaves_it_of_none_gives_none_and_never_exceeds_one() -> None:
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_holm_keeps_the_error_of_any_false_alarm_at_5_percent() -> None:
    """Of 20 comparisons without any difference, some p is below 0.05 in 64 % of all cases; some p of Holm's in 5 %."""
    draws = np.random.default_rng(5).uniform(size=(2000, 20))
    alarms = np.mean([min(holm(list(row))) < 0.05 for row in draws])
    assert 0.035 < alarms < 0.065
    assert np.mean(draws.min(1) < 0.05) > 0.6


def test_bootstrap_p_counts_what_lies_on_the_rarer_side_of_zero() -> None:
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0, 0.0])) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-1.0] * 99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(9)) == 1.0


def test_the_spread_of_a_mean_is_students_t_and_that_of_a_difference_welchs() -> None:
    """Three numbers: t is 4.302653 for two degrees of freedom; of two such groups alike Welch's are four, 2.776445."""
    numbers = np.array([1.0, 2.0, 3.0])  # of standard deviation 1
    assert spread_of_means(numbers) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert spread_of_means(numbers, numbers + 9) == pytest.approx(2.776445 * math.sqrt(2 / 3), rel=1e-6)


def test_a_number_alone_has_no_spread_and_numbers_alike_none() -> None:
    assert spread_of_means(np.array([1.0])) is None
    assert spread_of_means(np.array([1.0, 2.0]), np.array([])) is None
    assert spread_of_means(np.ones(4)) == 0.0
