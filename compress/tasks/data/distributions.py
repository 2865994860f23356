"""Columns of labels that hold what another model says: {name: probability}, of an LLM, an API or a zero-shot model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks.data.cells import read_labels
from compress.tasks.data.mistakes import Mistakes, first_of
from compress.tasks.data.rows import Rows
from compress.tasks.labels import names_shown

ROUNDED = 0.005
"""By so much a probability that is written with two digits may be off."""


def read_labels_or_probabilities(values: Sequence[Any], lines: Sequence[int], column: str, mistakes: Mistakes) -> list[Any]:
    """Take each value as one label, see `read_labels`; or, if the first is an object, each as the labels' probabilities.

    Args:
        values: As the file holds them; a text that begins with { is read as JSON.
        lines: Where each stands.
        column: For messages.
        mistakes: Where values are noted that are neither, and probabilities that do not sum to 1.

    Returns:
        A text for each value, or a mapping from names to probabilities, which sum to 1.
    """
    if not begin_with_object(values):
        return list(read_labels(values, lines, column, mistakes))
    read = read_probabilities(values, lines, column, mistakes)
    for row, (line, probabilities) in enumerate(zip(lines, read, strict=True)):
        total = sum(probabilities.values()) if isinstance(probabilities, Mapping) else 1.0
        if abs(total - 1) > ROUNDED * (len(probabilities) + 1):
            mistakes.add(line, column, f"holds probabilities that sum to {total:.4g}, not to 1: {shown(values[row])}")
        elif isinstance(probabilities, Mapping):
            read[row] = {name: number / total for name, number in probabilities.items()}
    return read


def read_probabilities(values: Sequence[Any], lines: Sequence[int], column: str, mistakes: Mistakes) -> list[Any]:
    """Take each value as probabilities of names, whatever they sum to; what is none of these is noted."""
    read = [_probabilities_of(value) for value in values]
    for line, probabilities in zip(lines, read, strict=True):
        if isinstance(probabilities, str):
            mistakes.add(line, column, probabilities)
    return read


def _probabilities_of(value: Any) -> dict[str, float] | str:
    """The probabilities that an object, or a text that holds one, gives to names; what is wrong, where something is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return f"is no object of probabilities, as others are: {shown(value)}"
    if not isinstance(value, Mapping) or not value:
        return f"is no object of probabilities, as others are: {shown(value)}"
    probabilities = {}
    for name, number in value.items():
        if number is None:  # which Parquet writes where a row does not have the name
            continue
        if not isinstance(name, str) or not name.strip():
            return f"gives a probability to a name that is none: {shown(value)}"
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= 1:  # which NaN is not
            return f"gives {shown(name)} {shown(number)}, which is no probability; give numbers from 0 to 1 (after a softmax)"
        probabilities[name.strip()] = float(number)
    return probabilities


def are_probabilities(rows: Rows) -> bool:
    """Whether the rows' labels are probabilities of labels."""
    return any(isinstance(label, Mapping) for label in rows.labels)


def array_of(rows: Rows, names: Sequence[str]) -> np.ndarray:
    """Put the rows' probabilities into the order of the names, (rows, names), float32; a name that a row does not have gets 0.

    Raises:
        InputError: A row gives a probability to another name.
    """
    index = {name: number for number, name in enumerate(names)}
    array, wrong = np.zeros((len(rows), len(names)), dtype=np.float32), []
    for row, (line, probabilities) in enumerate(zip(rows.lines, rows.labels, strict=True)):
        for name, probability in probabilities.items():
            if name in index:
                array[row, index[name]] = probability
            else:
                wrong.append(f"  {rows.unit} {line}, column {rows.label_column!r}: {shown(name)}")
    if wrong:
        heading = (
            f"{rows.source} has probabilities of labels that are unknown; allowed: {names_shown(names)}. Correct the rows:"
        )
        raise InputError("\n".join([heading, *first_of(wrong)]))
    return array


def begin_with_object(values: Sequence[Any]) -> bool:
    """Whether the first value is an object, or a text that holds one."""
    first = values[0] if len(values) else None
    return isinstance(first, Mapping) or (isinstance(first, str) and first.lstrip().startswith("{"))
