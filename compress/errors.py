"""The errors that reach a user, each with the exit code that the command line gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_SHOWN_CHARACTERS = 70
LONGEST_LINE = 320  # of what a library says
LEAST_ROOM = 4  # for the entries of a list that is shown


class CompressError(Exception):
    """The work failed: the base of every error that is shown as one message, without a traceback."""

    exit_code = 1


class InputError(CompressError):
    """The input was wrong: a recipe, a data file, a model folder or an argument.

    A message says what was wrong with the value shown, what is allowed, and what to do.
    """

    exit_code = 2


class NoEffect(InputError):
    """A step would leave the model as it was."""


class GateMissed(CompressError):
    """A deployed file broke a limit of the recipe's `gates`."""

    exit_code = 3


def raise_together(problems: Sequence[str], heading: str = "") -> None:
    """Raise one InputError that lists every problem; return when there is none."""
    if problems:
        lines = [heading] if heading else []
        raise InputError("\n".join([*lines, *problems]))


def shown(value: Any, most: int = MOST_SHOWN_CHARACTERS) -> str:
    """Write a user's value into a message: as `repr` does, but cut where it is long, with how long it was.

    Lone surrogates are escaped, so that the message can be printed and written as UTF-8. Values that are long are never
    written out whole, however long they are.

    Args:
        value: Anything that a file, a recipe or an argument held.
        most: Characters to keep, quotation marks not counted.
    """
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _cut_container(value, most)
    if isinstance(value, int) and value.bit_length() > 4 * MOST_SHOWN_CHARACTERS:
        return f"a whole number ({value.bit_length():,} bits)"  # Python writes no number of more than 4,300 digits
    is_text = isinstance(value, str | bytes)
    written, length = (repr(value[:most]), len(value)) if is_text else (repr(value), 0)
    if not is_text:
        written, length = written[:most], len(written)
    if length <= most:
        return written
    return f"{written}... ({length:,} {'bytes' if isinstance(value, bytes) else 'characters'})"


def _cut_container(value: Any, most: int) -> str:
    """The first entries of a list, a set or a mapping, as many as there is room for; nested ones are cut too."""
    opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
    if not value:
        return repr(value)
    pieces: list[str] = []
    room = most - 2
    for entry in value.items() if isinstance(value, dict) else value:
        if room < LEAST_ROOM:
            pieces.append("...")
            return f"{opening}{', '.join(pieces)}{closing} ({len(value):,} entries)"
        if isinstance(value, dict):
            piece = f"{shown(entry[0], room // 2)}: {shown(entry[1], room // 2)}"
        else:
            piece = shown(entry, room)
        pieces.append(piece)
        room -= len(piece) + 2
    last = "," if isinstance(value, tuple) and len(value) == 1 else ""
    return f"{opening}{', '.join(pieces)}{last}{closing}"


def cut(text: str, most: int = 80) -> str:
    """Shorten a text that a message repeats without quotes, such as a key or a name."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def first_line(err: BaseException) -> str:
    """The first line of an error's message, cut where it is long, or its class where it has none."""
    return cut(_lines(err)[0], LONGEST_LINE)


def last_line(err: BaseException) -> str:
    """The last line of an error's message, cut where it is long, or its class where it has none."""
    return cut(_lines(err)[-1], LONGEST_LINE)


def _lines(err: BaseException) -> list[str]:
    return [line.strip() for line in str(err).splitlines() if line.strip()] or [type(err).__name__]
