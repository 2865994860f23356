"""Hold what became of a subject against limits: shown to be kept, shown to be broken, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress import record

WITHIN, UNCLEAR, REGRESSION = "within", "unclear", "regression"
SIGNIFICANT = 0.05
ROUNDING = 1e-9
"""A value that equals its limit keeps it."""


@dataclass(frozen=True)
class Limits:
    """By how much the second result may be worse than the first; None is not judged.

    Args:
        max_drop: Of the deciding metric, a fraction: 0.005 is half a point, and of a perplexity a share.
        max_slower: Of the median latency, a share: 0.1 is a tenth.
        max_larger: Of the size, a share.
        prove: Whether what is not shown to be within its limit is a regression too.
    """

    max_drop: float | None = None
    max_slower: float | None = None
    max_larger: float | None = None
    prove: bool = False


def judge(subject: dict[str, Any], metric: str, limits: Limits) -> list[str]:
    """Hold a pair against the limits, note the verdicts in it, and say what is a regression.

    Quality: within where the whole interval of the drop is at or below the limit; a regression where the drop is above the
    limit and not noise, its interval above 0 and its p by Holm's correction below 0.05. Latency: within where the ratio's
    interval is (or, without one, the ratio is) at or below the limit; a regression where the ratio is above it, its interval
    above 1, and the baseline's own ratio does not explain it. Size: as it is. All else is unclear, and with `prove` a
    regression as well.
    """
    verdicts = (
        ("quality", limits.max_drop, _quality_verdict),
        ("latency", limits.max_slower, _latency_verdict),
        ("size_bytes", limits.max_larger, _size_verdict),
    )
    regressions = []
    for key, limit, verdict_of in verdicts:
        if limit is None:
            continue
        verdict, said = verdict_of(subject[key], limit, metric)
        subject[key]["verdict"] = verdict
        if verdict == REGRESSION or (limits.prove and verdict == UNCLEAR):
            regressions.append(f"{subject['name']}: {said}")
    return regressions


def _quality_verdict(quality: Mapping[str, Any], limit: float, metric: str) -> tuple[str, str]:
    drop = quality.get("drop")
    if drop is None:
        return UNCLEAR, f"quality is not judged ({quality['why']})"
    allowed = record.margin_words(metric, limit)
    said = f"{metric} lost {record.margin_words(metric, round(drop['value'], 4))}"
    if drop["ci95"] is None:
        is_kept = drop["value"] <= limit + ROUNDING
        return WITHIN if is_kept else REGRESSION, f"{said}, {allowed} allowed; no interval is known"
    low, high = drop["ci95"]
    said += f" (95 % {record.points(low)} to {record.points(high)}), {allowed} allowed"
    if high <= limit + ROUNDING:
        return WITHIN, said
    is_real = low > 0 and (drop.get("p_holm") is None or drop["p_holm"] < SIGNIFICANT)
    if drop["value"] > limit + ROUNDING and is_real:
        return REGRESSION, said
    return UNCLEAR, f"{said}; not shown to be within it"


def _latency_verdict(latency: Mapping[str, Any], limit: float, metric: str) -> tuple[str, str]:
    if "ratio" not in latency:
        return UNCLEAR, f"latency is not judged ({latency['why']})"
    ratio, ends, other = latency["ratio"], latency["ci95"], latency["baseline_ratio"]
    said = f"slower by {record.percent(ratio - 1)}, {record.percent(limit)} allowed"
    if (ratio if ends is None else ends[1]) <= 1 + limit + ROUNDING:
        return WITHIN, said
    if ratio > 1 + limit + ROUNDING and (ends is None or ends[0] > 1):
        if other is None or ratio / max(other, 1.0) > 1 + limit + ROUNDING:
            return REGRESSION, said
        return UNCLEAR, f"{said}; the baseline was slower too, by {record.percent(other - 1)}"
    return UNCLEAR, f"{said}; not shown to be within it"


def _size_verdict(size: Mapping[str, Any], limit: float, metric: str) -> tuple[str, str]:
    if "ratio" not in size:
        return UNCLEAR, f"size is not judged ({size['why']})"
    said = f"larger by {record.percent(size['ratio'] - 1)}, {record.percent(limit)} allowed"
    return (REGRESSION if size["ratio"] > 1 + limit + ROUNDING else WITHIN), said
