"""Make stdout and stderr take whatever is written: on a console of any encoding, a closed one, and one that went away."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from typing import TextIO

ERRORS = "compress.plain"
_PLAIN = str.maketrans(
    {
        "\u00d7": "x",
        "\u2013": "-",
        "\u2014": "-",
        "\u2212": "-",
        "\u2192": "->",
        "\u2026": "...",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00a0": " ",
        "\u2022": "*",
        "\u2501": "-",
        "\u2578": "-",
        "\u257a": "-",
        "\u2500": "-",
        "\u2502": "|",
    }
)
_SIZE = re.compile(r"[1-9][0-9]{0,3}")


class Told(io.TextIOWrapper):
    """What is told on the way; when nobody listens any more, or the disk is full, the work goes on."""

    def write(self, text: str) -> int:
        """Write a text, or drop it where it cannot be written."""
        try:
            return super().write(text)
        except OSError:  # there is nobody left to tell
            return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        try:
            super().flush()
        except OSError:  # as above; Python flushes once more when it ends
            return


def prepare() -> None:
    """Prepare the streams of this process; called by the command line before anything else.

    A stream that is closed is opened on the null device, so that no file of ours gets its number. Characters that the encoding
    lacks become plain ones, or their escapes. COLUMNS and LINES that are no sizes are taken out of the environment.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        _open_if_closed(number, flags)
    codecs.register_error(ERRORS, plain_characters)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it is never closed
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ERRORS)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        descriptor = open(2, "wb", closefd=False)  # noqa: SIM115 - it is never closed
        sys.stderr = Told(descriptor, encoding, ERRORS, line_buffering=True)
    for name in ("COLUMNS", "LINES"):
        if name in os.environ and not _SIZE.fullmatch(os.environ[name]):
            del os.environ[name]


def plain_characters(err: UnicodeError) -> tuple[str, int]:
    """Say characters that a stream's encoding lacks in those that every encoding has; an error handler of codecs.

    Raises:
        UnicodeError: It is not about writing.
    """
    if not isinstance(err, UnicodeEncodeError):
        raise err
    characters = err.object[err.start : err.end].translate(_PLAIN)
    return characters.encode("ascii", "backslashreplace").decode("ascii"), err.end


def send_to_nowhere(stream: TextIO | None) -> None:
    """Let what a stream still holds, and what is still written there, be lost without an error when Python ends."""
    try:
        number = stream.fileno() if stream is not None else -1
    except (OSError, ValueError):  # a stream in memory
        return
    if number >= 0:
        _point_at_null(number, os.O_WRONLY)


def _open_if_closed(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        _point_at_null(number, flags)


def _point_at_null(number: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
