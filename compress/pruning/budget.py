"""Which heads and neurons to keep when what they cost is limited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.errors import InputError
from compress.models.costs import Costs

UNITS = 10_000  # into which a budget is cut; each part's cost is rounded up by less than one of them


@dataclass(frozen=True)
class Kept:
    """Indices of what stays, rising, for each distinct layer."""

    heads: list[list[int]]
    neurons: list[list[int]]

    @property
    def counts(self) -> tuple[list[int], list[int]]:
        """How many heads and how many neurons stay in each layer."""
        return [len(layer) for layer in self.heads], [len(layer) for layer in self.neurons]


def kept_under(
    heads: Sequence[np.ndarray], neurons: Sequence[np.ndarray], costs: Costs, budget: float, *, multiple_of: int = 1
) -> Kept:
    """The heads and neurons of greatest importance in all that cost no more than the budget.

    Any table of costs will do, steps and jumps included: multiply-adds as well as measured times.

    Args:
        heads: The importance of each head, (heads,) for each distinct layer; at least 0.
        neurons: The same of each neuron.
        costs: Fits these layers.
        budget: What the encoder may cost, the rest of `costs` included.
        multiple_of: Neurons stay in multiples of this, or all of a layer's.

    Raises:
        InputError: Even the cheapest encoder costs more.
    """
    parts = [*heads, *neurons]
    steps = [1] * len(heads) + [multiple_of] * len(neurons)
    allowed = [np.unique([*range(0, len(part), step), len(part)]) for part, step in zip(parts, steps, strict=True)]
    orders = [np.argsort(-part, kind="stable") for part in parts]
    values = [np.concatenate([[0.0], np.cumsum(part[order])]) for part, order in zip(parts, orders, strict=True)]
    prices = [table[counts] for table, counts in zip(costs.parts, allowed, strict=True)]
    least = costs.rest + sum(float(price.min()) for price in prices)
    if least > budget:
        raise InputError(
            f"the budget is {budget:.6g}, but what removing heads and neurons leaves costs {least:.6g} at least, "
            f"{least / costs.whole:.3g} of the encoder; allow more."
        )
    worth = [value[counts] for value, counts in zip(values, allowed, strict=True)]
    chosen = best_choices(worth, prices, budget - costs.rest)
    kept = [sorted(order[: counts[choice]].tolist()) for order, counts, choice in zip(orders, allowed, chosen, strict=True)]
    return Kept(kept[: len(heads)], kept[len(heads) :])


def best_choices(values: Sequence[np.ndarray], prices: Sequence[np.ndarray], budget: float) -> list[int]:
    """One option for each part, so that their values add up to the most that the budget buys; the cheaper of equals.

    Dynamic programming over the budget in 10,000 units: exact where all prices are whole units, else it spends less than a
    unit for each part too little.

    Args:
        values: Of each part's options, (options,).
        prices: The same shapes; at least 0. The cheapest options together cost no more than the budget.
        budget: At least 0.
    """
    floors = [float(price.min()) for price in prices]  # are paid in any case, so that rounding never asks for more
    unit = max(budget - sum(floors), 1e-9 * sum(float(price.max()) for price in prices)) / UNITS or 1.0
    best = np.zeros(UNITS + 1)  # by the units that the parts so far may cost
    picks = []
    for value, price, floor in zip(values, prices, floors, strict=True):
        total, pick = np.full(UNITS + 1, -np.inf), np.zeros(UNITS + 1, dtype=np.int64)
        units = np.minimum(np.ceil((price - floor) / unit - 1e-6), UNITS + 1).astype(np.int64)
        for option in np.argsort(price, kind="stable"):
            if units[option] > UNITS:
                break
            reached = best[: UNITS + 1 - units[option]] + value[option]
            better = reached > total[units[option] :]
            total[units[option] :][better] = reached[better]
            pick[units[option] :][better] = option
        best = total
        picks.append((pick, units))
    left, chosen = UNITS, []
    for pick, units in reversed(picks):
        chosen.append(int(pick[left]))
        left -= int(units[chosen[-1]])
    return chosen[::-1]
