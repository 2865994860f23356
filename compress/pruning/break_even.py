"""At which rank two thin Linears stop being faster than the one that they stand for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from compress.benchmark.block_times import Setting, model_times
from compress.models.factors import set_rank
from compress.models.surgery import copy_of
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

TRIED = (1.0, 0.75, 0.5, 0.25)  # of the rank at which the two have as many weights as the one
LANES = 8  # ranks are tried in multiples of it


def faster_below(
    model: PreTrainedModel,
    task: Task,
    names: Mapping[tuple[int, int], Sequence[str]],
    limits: Mapping[tuple[int, int], int],
    setting: Setting,
    run: StepContext,
) -> dict[tuple[int, int], int]:
    """Measure the rank below which a Linear's two factors are faster than it, by its shape; 0 where none that was tried is.

    Args:
        model: Has the Linears; stays as it is.
        task: Gives sentences to export with.
        names: Of the Linears of each shape.
        limits: For each shape the largest rank to try.
        setting: Where it will run.
        run: Progress; its facts take up what is found.
    """
    models: dict[str, PreTrainedModel] = {"whole": model}
    tried = {
        shape: sorted({max(1, round(limit * part / LANES) * LANES) for part in TRIED if limit * part >= 1})
        for shape, limit in limits.items()
    }
    for shape, ranks in tried.items():
        for rank in ranks:
            models[_named(shape, rank)] = lowered = copy_of(model)
            for name in names[shape]:
                set_rank(lowered, name, rank)
    taken = model_times(models, task, setting, progress=run.progress)
    break_evens = {}
    for shape, ranks in tried.items():
        times = [taken[_named(shape, rank)] for rank in ranks]
        break_evens[shape] = min(limits[shape], crossing(ranks, times, taken["whole"]))
        logger.info(
            "%s: a Linear of %d x %d is faster as two below rank %d, and smaller below %d",
            setting,
            *shape,
            break_evens[shape],
            limits[shape],
        )
    run.facts["break_even"] = {f"{shape[0]}x{shape[1]}": limit for shape, limit in break_evens.items()}
    return break_evens


def _named(shape: tuple[int, int], rank: int) -> str:
    return f"{shape[0]}x{shape[1]} at {rank}"


def crossing(ranks: Sequence[int], times: Sequence[float], whole: float) -> int:
    """The rank up to which times stay below the whole's, interpolated between those that were tried; 0 where none does."""
    under = 0
    for index, (rank, taken) in enumerate(zip(ranks, times, strict=True)):
        if taken >= whole:
            if not under:
                return 0
            before = times[index - 1]
            return int(under + (rank - under) * (whole - before) / (taken - before))
        under = rank
    return under
