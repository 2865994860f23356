"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math


def rate_factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """The fraction of the highest learning rate to use in optimizer step `step` of `total` (counted from 0).

    It rises linearly over the first `warmup` fraction of the steps, then falls to 0 ("linear"; "cosine", Loshchilov and Hutter
    2017, arXiv 1608.03983) or stays ("constant").
    """
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, total - rising)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 1.0
