"""How long a file may take to answer."""

from __future__ import annotations

import math

from compress.errors import InputError

TIME_LIMIT_SECONDS = 900.0


def check_time_limit(seconds: float) -> None:
    """Raise InputError unless it is a number of seconds above 0."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
        raise InputError(f"time_limit is {seconds!r}; a number of seconds above 0 is allowed: correct it.")
