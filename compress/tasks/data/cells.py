"""What may stand in a column: a task says which of these its columns hold, and anything else is a mistake with its row.

`read_texts` and `read_labels` are what text classification reads. A task of another kind (several labels a row, a label a
word) brings a function of the same shape that takes lists.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from compress.errors import shown
from compress.tasks.data.mistakes import Mistakes

ReadCells = Callable[[Sequence[Any], Sequence[int], str, Mistakes], list[str]]
"""Values, their lines, their column and where to note mistakes -> what the task gets, one for each value."""
MISSING_LABELS = frozenset({"nan", "NaN", "-nan", "-NaN", "<NA>", "#N/A", "NaT"})
"""What other programs write where a label is missing; words that may be a label (none, null, NA) are not among them."""
EXACT = 1 << 53  # up to here every whole number is a float
MOST_DIGITS = 1000
MOST_BITS = 13_000  # Python writes no more than 4,300 digits
WORDS = {True: "true", False: "false"}


def read_texts(values: Sequence[Any], lines: Sequence[int], column: str, mistakes: Mistakes) -> list[str]:
    """Take each value as a text, white space at its ends removed; a number is read as its digits.

    Args:
        values: As the file holds them.
        lines: Where each stands.
        column: For messages.
        mistakes: Where values are noted that are no text: empty ones, lists, objects, bytes, dates, NaN, true and false.
    """
    if set(map(type, values)) == {str}:
        written = [value.strip() for value in values]
    else:
        written = [value.strip() if type(value) is str else _digits(value, whole=False) for value in values]
        for line, value, text in zip(lines, values, written, strict=True):
            if value is not None and (isinstance(value, bool) or (not text and not isinstance(value, str))):
                mistakes.add(line, column, f"is {kind_of(value)}, not a text: {shown(value)}")
    _note_empty(values, written, lines, column, mistakes)
    return written


def join_cells(
    columns: Mapping[str, Sequence[Any]], lines: Sequence[int], separator: str, mistakes: Mistakes
) -> list[str | None]:
    """Join the texts that a row has in several columns; those that are empty or missing are left out.

    Args:
        columns: Values by the column that they stand in, in the order in which they are joined.
        lines: Where each row stands.
        separator: Between two texts.
        mistakes: Where values are noted that are no text.

    Returns:
        A text for each row; None where all of its texts are empty.
    """
    joined: list[str | None] = []
    for row, line in enumerate(lines):
        texts = []
        for name, values in columns.items():
            value = values[row]
            text = value.strip() if isinstance(value, str) else "" if isinstance(value, bool) else _digits(value, whole=False)
            if not text and value is not None and not isinstance(value, str):
                mistakes.add(line, name, f"is {kind_of(value)}, not a text: {shown(value)}")
            texts += [text] if text else []
        joined.append(separator.join(texts) or None)
    return joined


def read_labels(values: Sequence[Any], lines: Sequence[int], column: str, mistakes: Mistakes) -> list[str]:
    """Take each value as one label: a name, a number, or true and false, and all through the column the same kind.

    Whole numbers are written without a decimal point, so that 1 and 1.0 are one label; true and false by these words.

    Args:
        values: As the file holds them.
        lines: Where each stands.
        column: For messages.
        mistakes: Where values are noted that are no label, and where a value is of another kind than the first one.
    """
    if set(map(type, values)) == {str}:
        written = [value.strip() for value in values]
    else:
        written = []
        first: tuple[str, int, Any] | None = None
        for line, value in zip(lines, values, strict=True):
            kind = _kind_of_label(value)
            if kind is None:
                if value is not None:
                    mistakes.add(line, column, f"is {kind_of(value)}, not a label: {shown(value)}")
            elif first is None:
                first = (kind, line, value)
            elif kind != first[0]:
                mistakes.add(
                    line,
                    column,
                    f"is {kind} ({shown(value)}), but {mistakes.unit} {first[1]} has {first[0]} "
                    f"({shown(first[2])}); write all labels alike",
                )
            written.append(
                WORDS[value]
                if isinstance(value, bool)
                else value.strip()
                if isinstance(value, str)
                else _digits(value)
                if kind
                else ""
            )
    missing = MISSING_LABELS.intersection(written)
    if missing:
        for line, label in zip(lines, written, strict=True):
            if label in missing:
                mistakes.add(line, column, f"is {label}, which stands for a label that is missing")
    _note_empty(values, written, lines, column, mistakes)
    return written


def kind_of(value: Any) -> str:
    """What a value is, in the words of data files."""
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        return "NaN (a missing number)" if math.isnan(value) else "an infinite number" if math.isinf(value) else "a number"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        (str, "a text"),
        (dict, "an object"),
        ((list, tuple), "a list"),
        ((bytes, bytearray), "binary data"),
        ((datetime.date, datetime.time, datetime.timedelta), "a date or time"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def _kind_of_label(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "a text"
    return "a number" if _digits(value) else None


def _digits(value: Any, *, whole: bool = True) -> str:
    """A finite number as text, without a decimal point where it is `whole`; empty for anything else."""
    if isinstance(value, Integral):  # true and false too, which their readers look at themselves
        return str(int(value)) if int(value).bit_length() < MOST_BITS else ""
    if isinstance(value, Decimal):
        return _plain_decimal(value, whole) if value.is_finite() and abs(value.adjusted()) < MOST_DIGITS else ""
    if isinstance(value, Real) and math.isfinite(value):
        number = float(value)
        return str(int(number)) if whole and number.is_integer() and abs(number) <= EXACT else repr(number)
    return ""


def _plain_decimal(value: Decimal, whole: bool) -> str:
    return str(int(value)) if whole and value == int(value) else format(value, "f")


def _note_empty(values: Sequence[Any], written: Sequence[str], lines: Sequence[int], column: str, mistakes: Mistakes) -> None:
    for index, text in enumerate(written):
        if not text:
            if values[index] is None or isinstance(values[index], str):
                mistakes.add(lines[index], column, "is empty")
        elif "\0" in text:
            mistakes.add(lines[index], column, "holds a NUL character, which no text has")
        elif not text.isascii() and (surrogate := _lone_surrogate(text)):
            mistakes.add(
                lines[index],
                column,
                f"holds half a character ({surrogate!r}: a surrogate alone), which no file can hold as UTF-8",
            )


def _lone_surrogate(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as err:
        return text[err.start]
    return ""
