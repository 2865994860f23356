"""What is kept under a budget, against trying every mask."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compress.errors import InputError
from compress.models.costs import Costs
from compress.pruning.budget import Kept, best_choices, kept_under

Layers = list[np.ndarray]


def example(seed: int) -> tuple[Layers, Layers, Costs]:
    """Two layers of three heads and four neurons; whole costs that fall by no rule, and a rest of 5."""
    random = np.random.default_rng(seed)
    heads, neurons = [random.random(3) for _ in range(2)], [random.random(4) * 0.7 for _ in range(2)]
    tables = [np.concatenate([[0], random.integers(0, 9, count)]).cumsum().astype(float) for count in (3, 3, 4, 4)]
    return heads, neurons, Costs(tables[:2], tables[2:], rest=5.0)


def value_of(kept: Kept, heads: Layers, neurons: Layers) -> float:
    """The importance of what is kept."""
    pairs = [*zip(heads, kept.heads, strict=True), *zip(neurons, kept.neurons, strict=True)]
    return float(sum(layer[indices].sum() for layer, indices in pairs))


def best_of_all_masks(heads: Layers, neurons: Layers, costs: Costs, budget: float, multiple_of: int = 1) -> float:
    """The greatest importance that any mask keeps within the budget."""
    best = -np.inf
    importance = np.concatenate([*heads, *neurons])
    for mask in product((0, 1), repeat=len(importance)):
        parts = np.split(np.array(mask), [3, 6, 10])
        counts = [int(part.sum()) for part in parts]
        if costs.of(counts[:2], counts[2:]) <= budget and not any(count % multiple_of for count in counts[2:]):
            best = max(best, float(importance @ mask))
    return best


@pytest.mark.parametrize(("seed", "spare"), [(1, 10), (2, 16), (3, 20), (4, 25), (5, 1), (6, 8)])
def test_the_search_finds_the_best_of_all_masks(seed: int, spare: int) -> None:
    """Budgets of which every whole cost is a whole number of units."""
    heads, neurons, costs = example(seed)
    kept = kept_under(heads, neurons, costs, 5.0 + spare)
    assert value_of(kept, heads, neurons) == pytest.approx(best_of_all_masks(heads, neurons, costs, 5.0 + spare))
    assert costs.of(*kept.counts) <= 5.0 + spare


@pytest.mark.parametrize("multiple_of", [2, 4])
def test_the_search_finds_the_best_of_all_masks_with_multiples_of_neurons(multiple_of: int) -> None:
    heads, neurons, costs = example(7)
    kept = kept_under(heads, neurons, costs, 25.0, multiple_of=multiple_of)
    value = value_of(kept, heads, neurons)
    assert value == pytest.approx(best_of_all_masks(heads, neurons, costs, 25.0, multiple_of))


def test_all_neurons_of_a_layer_may_stay_where_they_are_no_multiple() -> None:
    costs = Costs([np.zeros(1)], [np.arange(6.0)])
    counts = [
        len(kept_under([np.zeros(0)], [np.ones(5)], costs, budget, multiple_of=2).neurons[0])
        for budget in (0.5, 1.5, 2, 3.9, 4.5, 5)
    ]
    assert counts == [0, 0, 2, 2, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_is_held_whatever_the_costs(seed: int) -> None:
    """Costs such as times, that are no whole units; what rounding costs is less than a unit for each part."""
    heads, neurons, whole = example(seed)
    random = np.random.default_rng(seed)
    tables = [table * random.uniform(0.1, 2) + random.uniform(0, 0.3) for table in whole.parts]
    costs = Costs(tables[:2], tables[2:], rest=0.2)
    budget = random.uniform(costs.least, costs.whole)
    kept = kept_under(heads, neurons, costs, budget)
    assert costs.of(*kept.counts) <= budget * (1 + 1e-6)
    enough = best_of_all_masks(heads, neurons, costs, budget - 4 * (budget - costs.least) / 10_000)
    assert value_of(kept, heads, neurons) >= enough - 1e-9


def test_steps_and_jumps_of_a_measured_table_are_used() -> None:
    """Eight neurons take as long as five, so that they stay; one head takes as long as four."""
    costs = Costs([np.array([0, 3, 3, 3, 3.0])], [np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 9.0])])
    kept = kept_under([np.ones(4)], [np.full(9, 0.1)], costs, 5.0)
    assert kept.counts == ([4], [8])


def test_what_is_worth_nothing_goes_even_where_the_budget_would_buy_it() -> None:
    costs = Costs([np.arange(4.0)], [np.arange(3.0)])
    kept = kept_under([np.array([0.0, 2.0, 0.0])], [np.array([1.0, 0.0])], costs, 4.5)
    assert kept == Kept([[1]], [[0]])


def test_a_budget_for_everything_keeps_everything_and_one_for_nothing_nothing() -> None:
    heads, neurons, costs = example(8)
    assert kept_under(heads, neurons, costs, 1.01 * costs.whole).counts == ([3, 3], [4, 4])
    assert costs.of(*kept_under(heads, neurons, costs, costs.least).counts) == costs.least


def test_what_cannot_be_reached_is_refused_and_what_can_is_told() -> None:
    heads, neurons, costs = example(9)
    with pytest.raises(InputError, match=rf"the budget is 4\.9, .* costs 5 at least, {5 / costs.whole:.3g} of the encoder"):
        kept_under(heads, neurons, costs, 4.9)


def test_one_option_is_taken_for_each_part() -> None:
    values = [np.array([0, 3.0, 5.0]), np.array([0, 4.0])]
    prices = [np.array([0, 2.0, 5.0]), np.array([0, 3.0])]
    assert [best_choices(values, prices, budget) for budget in (1, 2, 4, 5, 8)] == [[0, 0], [1, 0], [0, 1], [1, 1], [2, 1]]
