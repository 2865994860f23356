"""Cut a set's rows into parts with one use each, by groups of kin, and tell what each knows of the training part."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.errors import InputError
from compress.tasks.data.rows import Rows
from compress.tasks.groups import Grouped
from compress.tasks.split import Role

logger = logging.getLogger(__name__)

EVALUATION_SHARE = 0.2
SELECTION_SHARE, MOST_SELECTION = 0.1, 2000
CALIBRATION_SHARE, MOST_CALIBRATION = 0.05, 500
FEWEST_ROWS = 16
MOST_FURTHER_SHARE = 0.3
"""Of the rows to learn from, that may be taken to be measured on."""
ENOUGH_MEASURED = 3000
"""Rows to measure on that need no further ones: a 95 % interval of their accuracy is 3.6 points wide at most."""
NOTICEABLE_LEAK = 0.05


@dataclass(frozen=True, eq=False)
class Parts:
    """A set's rows by their use.

    Args:
        rows: Of each part, counted through the rows to learn from and then those that are measured on; rising.
        kin: Of each part its `groups` and its `leak`; see `compress.tasks.groups.Grouped.figures`.
        left_out: Rows to learn from that are kin of rows which are kept apart, and are in no part.
    """

    rows: dict[Role, np.ndarray]
    kin: dict[str, dict[str, Any]]
    left_out: int


def cut_parts(
    train: Rows, evaluation_rows: Rows | None, *, selection: float | None, calibration: float | None, further: int | None
) -> Parts:
    """Cut rows by their groups; what the data gives to be measured on is not moved.

    Args:
        train: To learn from.
        evaluation_rows: To be measured on; None takes a fifth of the others.
        selection: As in `compress.tasks.task`.
        calibration: As in `compress.tasks.task`.
        further: So many rows are measured on besides.

    Raises:
        InputError: The rows are too few.
    """
    if len(train) < FEWEST_ROWS:
        what = (
            "has {} rows; at least {} are needed to cut it into parts"
            if evaluation_rows is None
            else ("leaves {} rows to learn from; at least {} are needed")
        )
        raise InputError(f"{train.source} {what.format(len(train), FEWEST_ROWS)}.")
    others = (
        Rows(train.source, (), None if train.pairs is None else (), (), ()) if evaluation_rows is None else evaluation_rows
    )
    pairs = None if train.pairs is None or others.pairs is None else train.pairs + others.pairs
    grouped = Grouped(train.texts + others.texts, pairs, len(train))
    rest = np.arange(len(train))
    parts: dict[Role, np.ndarray] = {}
    if evaluation_rows is None:
        parts["evaluation"], rest = _kept_to_measure(grouped, train)
    if further is not None:
        _check_further(train, len(rest), further, len(evaluation_rows if evaluation_rows is not None else parts["evaluation"]))
    parts |= _cut_rest(grouped, rest, train.source, selection, calibration, (further or 0) / len(rest))
    kept, left_out = grouped.taken_apart(*parts.values())
    parts = dict(zip(parts, kept, strict=True))
    for role, rows in parts.items():
        if not len(rows):
            raise InputError(f"{train.source}: {len(rest)} rows leave too few for the {role} part; give more rows.")
    if evaluation_rows is not None:
        parts["evaluation"] = np.arange(len(train), len(train) + len(evaluation_rows))
    kin = grouped.figures(parts)
    _tell(train.source, kin, left_out, is_official=evaluation_rows is not None)
    return Parts(parts, kin, left_out)


def _kept_to_measure(grouped: Grouped, train: Rows) -> list[np.ndarray]:
    share = max(EVALUATION_SHARE, min(0.3, 10 / len(train)))
    evaluation_rows, rest = grouped.cut(np.arange(len(train)), "evaluation", share)
    if not len(evaluation_rows) or not len(rest):
        raise InputError(
            f"{train.source}: {len(train)} rows have only {len(set(train.keys()))} different texts, which is too few to "
            "keep some apart to measure on; give more texts, or a validation file."
        )
    return [evaluation_rows, rest]


def _check_further(train: Rows, rest: int, further: int, measured: int) -> None:
    most = int(MOST_FURTHER_SHARE * rest)
    if further > most:
        raise InputError(
            f"task.evaluation.from_train is {further:,}, but {train.source} has {rest:,} rows to learn from, of which at most "
            f"{most:,} may be measured on ({MOST_FURTHER_SHARE:.0%}); take fewer, or leave it out."
        )
    if measured >= ENOUGH_MEASURED:
        logger.warning(
            "task.evaluation.from_train takes %s rows from training, though %s rows are measured on without it, which is "
            "enough to tell 2 points; leave it out unless the two are of another kind.",
            f"{further:,}",
            f"{measured:,}",
        )


def _cut_rest(
    grouped: Grouped, rest: np.ndarray, source: str, selection: float | None, calibration: float | None, further: float
) -> dict[Role, np.ndarray]:
    """The parts of the rows that are learned from, those that are kept apart first."""
    least = min(0.25, 10 / len(rest))
    selection = selection or max(least, min(SELECTION_SHARE, MOST_SELECTION / len(rest)))
    calibration = calibration or max(least, min(CALIBRATION_SHARE, MOST_CALIBRATION / len(rest)))
    train = 1.0 - selection - calibration - further
    if train <= 0:
        raise InputError(f"{source}: selection, calibration and evaluation.from_train leave no row to learn from; take fewer.")
    if not further:
        chosen, calibrated, learned = grouped.cut(rest, "selection", selection, calibration)
        return {"selection": chosen, "calibration": calibrated, "train": learned}
    chosen, calibrated, learned, measured = grouped.cut(rest, "selection", selection, calibration, train)
    return {"further": measured, "selection": chosen, "calibration": calibrated, "train": learned}


def _tell(source: str, kin: dict[str, dict[str, Any]], left_out: int, *, is_official: bool) -> None:
    groups = sum(figures["groups"] for role, figures in kin.items() if role != "evaluation" or not is_official)
    logger.debug("%s: cut by %s groups of rows that are kin", source, f"{groups:,}")
    if left_out:
        logger.warning("%s rows of %s are kin of rows in a part kept apart; they are left out.", f"{left_out:,}", source)
    for role, figures in kin.items():
        leak = figures.get("leak", 0.0)
        if leak > NOTICEABLE_LEAK:
            cure = (
                "they are as the data gives them, so the score is partly of what was learned by heart; "
                "task.evaluation: {from_train: N} measures beside it on rows that are not"
                if role == "evaluation" and is_official
                else "too many rows are like one another to be taken apart; remove copies from the data"
            )
            logger.warning(
                "%.1f %% of the rows for %s contain a training row, stand in one or nearly copy one: %s.",
                leak * 100,
                role,
                cure,
            )
