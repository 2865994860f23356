"""The deciding score by the length of the text: are long texts answered worse than short ones?"""

from __future__ import annotations

from typing import Any

import numpy as np

from compress.tasks.scores import Score

BANDS = 4
FEWEST = 20
"""Examples of a band; of fewer a score says nothing."""


def by_length(lengths: np.ndarray, statistics: np.ndarray, score: Score) -> list[dict[str, Any]]:
    """Compute a score for bands of lengths with about as many examples each.

    Args:
        lengths: Tokens of each example, (examples,).
        statistics: What the score is made of, (examples, statistics).
        score: From sums of them.

    Returns:
        Rows of {from, to, examples, score} by rising length; empty where statistics are of something else than examples, or
        where there are fewer than two bands, as where all texts have one length.
    """
    if len(lengths) != len(statistics):
        return []
    bands = min(BANDS, len(lengths) // FEWEST)
    ends = np.unique(np.quantile(lengths, np.arange(1, max(bands, 1)) / max(bands, 1), method="lower"))
    number = np.searchsorted(ends, lengths, side="left")
    chosen = [number == band for band in np.unique(number)]
    if len(chosen) < 2:
        return []
    return [
        {
            "from": int(lengths[inside].min()),
            "to": int(lengths[inside].max()),
            "examples": int(inside.sum()),
            "score": float(score(statistics[inside].sum(0))),
        }
        for inside in chosen
    ]
