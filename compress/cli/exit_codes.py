"""The exit codes beside those of `compress.errors`."""

from __future__ import annotations

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
