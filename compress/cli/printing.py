"""What goes to stdout: the result and nothing else, as text or as JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from compress.cli.exit_codes import FAILED

kept_from_stdout = contextlib.redirect_stdout  # what libraries print goes to stderr; stdout is for the result


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; a number that JSON cannot say becomes null."""
    from pydantic_core import to_json

    say(to_json(value, indent=1, inf_nan_mode="null", fallback=str).decode())


def say(text: str) -> None:
    """Print on stdout; leave without a word when nobody reads on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes at exit
        sys.exit(FAILED)
