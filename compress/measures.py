"""What a score's name says of it: nearly all are shares of 1, of which more is better; perplexities are numbers, of which less
is.

A metric whose name ends in "perplexity" is such a number, whatever kind of task it is of: run.json has names alone.
"""

from __future__ import annotations

from typing import Any

NUMBERS = "perplexity"
MARGINS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
"""Of a loss that is said to be within one."""


def is_less_better(metric: str) -> bool:
    """Whether less of a score is better, and it is a number, not a share of 1."""
    return metric.endswith(NUMBERS)


def is_better(metric: str, score: float, other: float) -> bool:
    """Whether a score is better than another one."""
    return score < other if is_less_better(metric) else score > other


def lost(metric: str, before: Any, after: Any) -> Any:
    """What is lost of a score, positive is worse: the difference of two shares; of a perplexity the share by which it rises,
    0.1 where it is a tenth higher. Numbers, or arrays of them."""
    return after / before - 1 if is_less_better(metric) else before - after


def margin_kept(upper: float) -> float | None:
    """The smallest of the usual margins that a loss is shown to stay within: 0, 0.005, 0.01, 0.02, 0.03 or 0.05.

    A loss whose 95 % interval ends at or below a margin is not inferior by more than that: the test of that claim has a
    level of 2.5 %, since only the interval's upper end counts.

    Source: Piaggio et al., "Reporting of noninferiority and equivalence randomized trials", JAMA 308 (2012).

    Args:
        upper: The upper end of the loss' 95 % interval, a fraction.

    Returns:
        The margin, a fraction; None where even the widest is not kept.
    """
    return next((margin for margin in MARGINS if upper <= margin), None)
