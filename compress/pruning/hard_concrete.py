"""Numbers between 0 and 1 that are drawn so that 0 and 1 themselves come up, and that learn how often they do.

Source: Louizos et al. 2018, "Learning sparse neural networks through L0 regularization", arXiv 1712.01312, section 2.2. What
settles at the end follows Xia et al. 2022, CoFi, arXiv 2204.00408, and its code (github.com/princeton-nlp/CoFiPruning, MIT).
"""

from __future__ import annotations

import math

import torch

BETA, LEAST, MOST = 2 / 3, -0.1, 1.1  # temperature, and how far the concrete distribution is stretched
LOWEST, HIGHEST = math.log(0.01), math.log(100)  # of log alpha, so that nothing is lost for good or kept for good
SHARPER = 0.8  # of CoFi's code
EPSILON = 1e-6


def drawn(log_alpha: torch.Tensor) -> torch.Tensor:
    """One draw of each gate; gradients reach `log_alpha` where the draw is neither 0 nor 1."""
    noise = torch.rand_like(log_alpha).clamp(EPSILON, 1 - EPSILON)
    concrete = torch.sigmoid((noise.log() - (-noise).log1p() + log_alpha) / BETA)
    return (concrete * (MOST - LEAST) + LEAST).clamp(0, 1)


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """How likely a draw is above 0."""
    return torch.sigmoid(log_alpha - BETA * math.log(-LEAST / MOST))


@torch.no_grad()
def settled(log_alpha: torch.Tensor, multiple_of: int = 1, offset: float = 0.0) -> torch.Tensor:
    """The gates that stay when drawing ends: as many are open as draws would open on average, the likeliest ones, half-way
    between 0 and 1 where draws were.

    Args:
        log_alpha: (gates,).
        multiple_of: Round the number of open ones to a multiple, to at least one multiple where any is open; all of them at
            most.
        offset: Let as many stay as if each log alpha were higher by it.
    """
    count = round(open_probability(log_alpha + offset).sum().item())
    if multiple_of > 1 and count:
        count = multiple_of * max(1, math.floor(count / multiple_of + 0.5))
    gates = torch.zeros_like(log_alpha)
    likeliest = log_alpha.argsort(descending=True, stable=True)[:count]
    gates[likeliest] = torch.sigmoid(log_alpha[likeliest] / BETA * SHARPER)
    return gates
