"""The times that are asked for: whether they make sense, can be had, and what would pay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from compress.arguments import one_of_two
from compress.benchmark.block_times import BlockTimes, LayerShape, Setting
from compress.errors import InputError
from compress.pruning.time_budget import fastest_ms

logger = logging.getLogger(__name__)

PAYS = 0.25  # of a layer's time, that half of its heads and neurons are to save at least


def wrong_times(
    speedup: float | None, p50_ms: float | None, schedule: Sequence[float] | None, against: str, teacher: object
) -> list[str]:
    """What is wrong with the times that are asked for."""
    problems = one_of_two("speedup", speedup, "p50_ms", p50_ms)
    steps = [*(schedule or []), *([speedup] if speedup is not None else [])]
    if any(later <= earlier for earlier, later in pairwise(steps)):
        below = "" if speedup is None else f", the last below speedup, which is {speedup:g}"
        problems.append(f"schedule is {list(schedule or [])}; speed-ups rise{below}: correct the list.")
    if against == "teacher" and teacher is None:
        problems.append("against is teacher, but there is none; name the teacher, or leave against out.")
    return problems


def budgets_of(
    times: BlockTimes,
    dense_ms: float,
    setting: Setting,
    speedup: float | None,
    p50_ms: float | None,
    schedule: Sequence[float],
) -> list[float]:
    """What the model may take after each cut, in milliseconds.

    Args:
        times: Of the model that comes in.
        dense_ms: What speed-ups count against.
        setting: Where it runs.
        speedup: Of the last cut.
        p50_ms: The same as a time.
        schedule: Speed-ups of the cuts before.

    Raises:
        InputError: One is not below today's time, or the last cannot be reached.
    """
    today, fastest = times.dense_ms, fastest_ms(times)
    logger.info(
        "%s takes %.3g ms today, of which %.3g ms cannot be pruned; with one head in one layer it would take %.3g ms, "
        "%.3g times less",
        setting,
        today,
        times.base_ms,
        fastest,
        today / fastest,
    )
    wanted = dense_ms / speedup if speedup else p50_ms
    assert wanted is not None
    if setting.quick and not fastest < wanted < today:
        logger.info("a tiny model's time is nearly all overhead, so that the middle of what can be reached is taken")
        return [float(ms) for ms in np.linspace(today, (today + fastest) / 2, len(schedule) + 2)[1:]]
    asked = f"speedup is {speedup:g}, which is {wanted:.3g} ms" if speedup else f"p50_ms is {wanted:g}"
    if wanted >= today:
        raise InputError(
            f"prune_to_latency.{asked}, but the model takes {today:.3g} ms already ({setting}); ask for less, or "
            "remove the step."
        )
    if wanted < fastest:
        raise InputError(
            f"prune_to_latency.{asked}, but {setting} takes at least {fastest:.3g} ms, when all but one head in one layer is "
            f"gone, {today / fastest:.3g} times less than today's {today:.3g} ms; ask for less than that, or use "
            "build_student for a narrower model or one without an encoder."
        )
    cuts = [dense_ms / factor for factor in schedule]
    wrong = [factor for factor, cut in zip(schedule, cuts, strict=True) if not wanted < cut < today]
    if wrong:
        raise InputError(
            f"prune_to_latency.schedule names {wrong[0]:g}, but the model is {dense_ms / today:.3g} times as fast already, "
            f"and {asked}, {dense_ms / wanted:.3g} times; name speed-ups in between."
        )
    return [*cuts, wanted]


def tell_what_pays(times: BlockTimes, setting: Setting, shapes: Sequence[LayerShape]) -> None:
    """Say aloud when narrower layers are hardly faster, so that only fewer of them are."""
    shape = max(shapes)
    whole, half = times.layer_ms(shape), times.layer_ms((shape[0] // 2, shape[1] // 2))
    saved = 1 - half / whole if whole else 0.0
    if saved < PAYS:
        logger.warning(
            "%s: half the heads and neurons make a layer only %.0f %% faster, so that narrower layers do not pay, "
            "and fewer do; a larger batch or length would change that",
            setting,
            100 * saved,
        )
    else:
        logger.info("%s: half the heads and neurons make a layer %.0f %% faster", setting, 100 * saved)
