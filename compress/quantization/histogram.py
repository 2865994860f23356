"""A histogram that grows with what it sees and takes the same memory for ten values as for ten billion."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

HALF = 2048  # bins on either side of 0
STEPS = 127  # of eight bits, on either side of 0
CANDIDATES = 100
ALMOST_NONE = 1e-4  # of one value, as in MXNet's and onnxruntime's smoothing
EXACT = 1 << 23  # values counted at once: torch counts in float32, which tells whole numbers apart up to 2^24

Calibration = Annotated[
    Literal["min_max", "percentile", "entropy", "mse"],
    Field(description="how the range of an activation is chosen from what it was seen to be"),
]
Percentile = Annotated[float, Field(gt=50, le=100, description="per cent of the sizes that the range holds (percentile)")]


class Histogram:
    """Counts of values in 4096 bins around 0, and the least and the greatest of them.

    When a value lies outside, the bins double in width until it does not, two becoming one each time.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF, dtype=np.int64)
        self.limit = 0.0
        self.least, self.most = math.inf, -math.inf

    def add(self, values: torch.Tensor) -> None:
        """Count values, of any shape."""
        least, most = (float(end) for end in values.aminmax())
        self.least, self.most = min(self.least, least), max(self.most, most)
        self._widen(max(-least, most))
        if self.limit:
            for part in torch.split(values.flatten().float(), EXACT):
                self.counts += torch.histc(part, 2 * HALF, -self.limit, self.limit).long().numpy()
        else:
            self.counts[HALF] += values.numel()

    def _widen(self, size: float) -> None:
        if not self.limit:
            self.limit = size
        while self.limit < size:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts[:] = 0
            self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
            self.limit *= 2

    def range(self, method: str, *, symmetric: bool, percentile: float = 99.99) -> tuple[float, float]:
        """Choose a range: what was seen, cut at the size that `method` finds, to both sides alike if it is symmetric.

        Args:
            method: "min_max" cuts nothing off; "percentile" the largest sizes; "entropy" where eight bits tell the
                distribution best (Kullback-Leibler divergence; Migacz, "8-bit inference with TensorRT", GTC 2017); "mse" where
                the mean squared error of rounding and cutting is least.
            symmetric: Whether the range is as wide below 0 as above.
            percentile: Per cent of the sizes that are kept.
        """
        top = max(-self.least, self.most)
        if method == "percentile":
            size = self._percentile(percentile)
        elif method == "entropy":
            size = self._least_divergence()
        elif method == "mse":
            size = self._least_error(symmetric)
        else:
            size = top
        size = min(size, top)
        return (-size, size) if symmetric else self._cut(size)

    def _cut(self, size: float) -> tuple[float, float]:
        """What was seen, cut at a size on either side, and widened to hold 0."""
        return max(min(self.least, 0.0), -size), min(max(self.most, 0.0), size)

    @property
    def _sizes(self) -> np.ndarray:
        """Counts by size, whatever the sign, (HALF,)."""
        return self.counts[HALF:] + self.counts[HALF - 1 :: -1]

    def _percentile(self, percentile: float) -> float:
        shares = np.cumsum(self._sizes) / max(1, self.counts.sum())
        return float((np.searchsorted(shares, percentile / 100 - 1e-12) + 1) / HALF * self.limit)

    def _least_error(self, symmetric: bool) -> float:
        width = self.limit / HALF
        centres = (np.arange(2 * HALF) - HALF + 0.5) * width
        seen = self.counts > 0
        centres, weights = centres[seen], self.counts[seen]
        errors = []
        sizes = max(-self.least, self.most) * np.arange(1, CANDIDATES + 1) / CANDIDATES
        for size in sizes:
            low, high = (-size, size) if symmetric else self._cut(size)
            step = (high - low) / (2 * STEPS)
            cut = np.clip(centres, low, high)
            beyond = (centres - cut) ** 2
            errors.append(float((weights * (beyond + np.where(beyond > 0, 0, step**2 / 12))).sum()))
        return float(sizes[int(np.argmin(errors))])

    def _least_divergence(self) -> float:
        sizes = self._sizes.astype(np.float64)
        last = int(np.flatnonzero(sizes)[-1]) + 1 if sizes.any() else 1
        best, best_bins = math.inf, last
        for bins in (*range(STEPS + 1, last, max(1, (last - STEPS) // CANDIDATES)), last):
            reference = sizes[:bins].copy()
            reference[-1] += sizes[bins:].sum()
            places = np.arange(bins) * (STEPS + 1) // bins  # which of the 128 steps a bin falls on
            filled = reference > 0
            totals = np.bincount(places, sizes[:bins], STEPS + 1)
            if not totals.any():
                continue
            shared = totals[places] / np.maximum(np.bincount(places, filled, STEPS + 1)[places], 1)
            distance = divergence(
                reference, np.maximum(shared, ALMOST_NONE) * filled
            )  # all cut values may fall on an empty bin
            if distance < best:
                best, best_bins = distance, bins
        kept = np.flatnonzero(sizes[:best_bins])  # nothing is lost where a range ends with the last bin that holds values
        return (int(kept[-1]) + 1 if len(kept) else best_bins) / HALF * self.limit


def divergence(reference: np.ndarray, estimate: np.ndarray) -> float:
    """The Kullback-Leibler divergence of `estimate` from `reference`, both counts; infinite where `estimate` misses what
    `reference` has.
    """
    if not reference.sum() or not estimate.sum():
        return math.inf
    reference, estimate = reference / reference.sum(), estimate / estimate.sum()
    seen = reference > 0
    if (estimate[seen] == 0).any():
        return math.inf
    return float((reference[seen] * np.log(reference[seen] / estimate[seen])).sum())
