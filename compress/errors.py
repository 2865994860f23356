"""The errors that reach a user, each with the exit code that the command line gives it."""

from __future__ import annotations

from collections.abc import Sequence


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
