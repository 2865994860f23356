"""What goes to stdout: the result and nothing else, as text or as JSON; and what is said of an error, to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from typing import Any

from compress.cli.consoles import send_to_nowhere
from compress.cli.exit_codes import FAILED
from compress.errors import CompressError

kept_from_stdout = contextlib.redirect_stdout  # what libraries print goes to stderr; stdout is for the result

LONGEST_LINE = 2000
MOST_LINES = 200
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, in characters that every reader of JSON and the stream's encoding know.

    A number that JSON cannot say becomes null. Half of a surrogate pair, which a text of JSON cannot hold, becomes its escape
    as text, as it is on stderr.
    """
    text = json.dumps(_plain(value), indent=1, ensure_ascii=False)
    text = _SURROGATE.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=1)
    say(text)


def _plain(value: Any) -> Any:
    """A value as JSON has it: a path and anything else that JSON does not know is its text."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def say(text: str) -> None:
    """Print on stdout, half a surrogate pair as its escape; leave without a word when nobody reads on.

    Raises:
        CompressError: It cannot be written, the disk being full, say.
    """
    try:
        print(_SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text), flush=True)
    except BrokenPipeError:
        send_to_nowhere(sys.stdout)
        sys.exit(FAILED)
    except OSError as err:
        send_to_nowhere(sys.stdout)
        raise CompressError(f"the result cannot be written to stdout: {err.strerror}; send it somewhere else.") from err


def shortened(message: str) -> str:
    """Cut a message's long lines in their middle, and its lines where they are many; control characters become escapes."""
    lines = message.split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES:,} lines more"]
    return "\n".join(_CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", _shortened_line(line)) for line in lines)


def _shortened_line(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... ({len(line) - 2 * half:,} characters left out) ... {line[-half:]}"
