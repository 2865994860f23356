"""Rows that have one label each: what the labels are, and each one's id."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np

from compress.errors import InputError, shown
from compress.labels import are_numbers
from compress.tasks.data.mistakes import first_of
from compress.tasks.data.rows import Rows
from compress.tasks.labels import in_order, match_labels, names_shown, written_twice

logger = logging.getLogger(__name__)

MOST_DISTINCT = 0.75
"""Values of a label come back; a column of which more than this fraction differs is a text, or a number that is measured."""


def label_names(rows: Rows) -> tuple[str, ...]:
    """The labels of rows, in order.

    Raises:
        InputError: They are too many, or one stands there in two spellings.
    """
    counted = Counter(rows.labels)
    if len(counted) > max(2, MOST_DISTINCT * len(rows)):
        raise InputError(
            f"{rows.source}, column {rows.label_column!r} holds {len(counted)} different values in {len(rows)} rows, which is "
            "no label; name the label's column with data.label, or all labels with task.labels."
        )
    if spellings := written_twice(counted):
        raise InputError(
            f"{rows.source}, column {rows.label_column!r} holds the labels {' and '.join(map(shown, spellings))}, one number "
            "in two spellings; write it in one of them."
        )
    return tuple(in_order(counted))


def ids_of(rows: Rows, names: tuple[str, ...]) -> np.ndarray:
    """The id of each row's label; see `compress.tasks.labels` for what a label may be."""
    match = match_labels(rows.labels, names)
    if match.unknown:
        unknown = set(match.unknown)
        wrong = [(line, label) for line, label in zip(rows.lines, rows.labels, strict=True) if label in unknown]
        lines = [f"  {rows.unit} {line}, column {rows.label_column!r}: {shown(label)}" for line, label in wrong]
        what = match.why or "Correct the rows, or name all labels with task.labels"
        raise InputError(
            "\n".join(
                [
                    f"{rows.source} has labels that are unknown; allowed: {names_shown(names)} (or their ids 0 to "
                    f"{len(names) - 1}, where that is certain). {what}:",
                    *first_of(lines),
                ]
            )
        )
    return np.array([match.ids[label] for label in rows.labels], dtype=np.int64)


def names_of_outputs(rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the outputs of a model are called: the file's own labels where the model has only numbers for them."""
    if not are_numbers(names) or set(rows.labels) <= {*names, *map(str, range(len(names)))}:
        return names
    own = label_names(rows)
    if len(own) != len(names):
        return names
    logger.warning("the model does not name its %d labels; they are read as %s.", len(names), names_shown(own))
    return own
