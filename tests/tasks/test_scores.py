from __future__ import annotations

import numpy as np
import pytest

from compress.tasks.scores import correct_together, drop, drop_over_seeds, share


def answers(right: np.ndarray) -> np.ndarray:
    """Statistics of an accuracy: right, and 1."""
    return np.stack([right, np.ones_like(right)], axis=1).astype(np.int64)


def drawn(examples: int, chance: float, seed: int) -> np.ndarray:
    return answers(np.random.default_rng(seed).uniform(size=examples) < chance)


def test_a_drop_of_one_seed_is_that_over_its_examples() -> None:
    before, after = drawn(400, 0.9, 1), drawn(400, 0.8, 2)
    both = drop(share, before, after)
    assert both == drop_over_seeds(share, [before], [after])
    differences = before[:, 0] - after[:, 0]
    assert both["value"] == pytest.approx(differences.mean())
    spread = 1.96 * differences.std() / 20  # sqrt(400)
    assert both["ci95"] == pytest.approx([both["value"] - spread, both["value"] + spread], abs=0.006)


def test_seeds_that_differ_widen_the_interval_and_seeds_alike_do_not() -> None:
    """Of 10,000 examples that are answered alike but by one seed, examples tell nearly nothing, and seeds all."""
    base = drawn(10_000, 0.9, 1)
    worse = base.copy()
    worse[np.flatnonzero(base[:, 0])[:1000], 0] = 0  # 10 points lost
    one_of_two = drop_over_seeds(share, [base, base], [base, worse])
    assert one_of_two["value"] == pytest.approx(0.05)
    # both seeds drawn are the first in a quarter of all resamples, both the second in another
    assert one_of_two["ci95"] == pytest.approx([0.0, 0.1], abs=0.007)
    assert one_of_two["p"] > 0.05
    alike = drop_over_seeds(share, [base, base], [worse, worse])
    assert alike["value"] == pytest.approx(0.1)
    assert alike["ci95"] == pytest.approx([0.1 - 0.006, 0.1 + 0.006], abs=0.002)
    assert alike["p"] < 0.001


def test_the_same_examples_are_drawn_together_so_that_their_difficulty_cancels() -> None:
    hard = drawn(500, 0.5, 3)
    paired = drop_over_seeds(share, [hard], [hard])
    assert paired["ci95"] == [0.0, 0.0]
    apart = drop_over_seeds(share, [hard], [hard], same_examples=False)
    spread = 1.96 * np.sqrt(2 * hard[:, 0].var() / 500)
    assert apart["value"] == 0.0
    assert apart["ci95"] == pytest.approx([-spread, spread], abs=0.006)


def test_examples_of_two_sets_may_be_of_any_number() -> None:
    apart = drop_over_seeds(share, [drawn(300, 0.9, 1)] * 3, [drawn(50, 0.9, 2)], same_examples=False, same_seeds=False)
    low, high = apart["ci95"]
    assert low < apart["value"] < high


def test_a_perplexity_that_rises_is_a_loss_by_its_share() -> None:
    ones = answers(np.ones(10))
    twice = ones * [2, 1]
    assert drop(share, ones, twice, metric="perplexity")["value"] == pytest.approx(1.0)


def test_several_drops_are_corrected_together_and_one_without_p_is_left_out() -> None:
    drops = [{"p": 0.01}, {"p": None}, {"p": 0.04}]
    correct_together(drops)
    assert drops == [{"p": 0.01, "p_holm": 0.02}, {"p": None}, {"p": 0.04, "p_holm": 0.04}]
