"""How a command ends: errors become one message, and each its exit code."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from compress.cli.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_INPUT
from compress.cli.printing import print_json
from compress.errors import CompressError


class Commands(TyperGroup):
    """The commands, with one place where errors become messages and exit codes."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, windows_expand_args: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        """Run a command and leave with its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            with _terminated_like_interrupted():
                code = super().main(given, prog_name or "bert-compress", complete_var, False, windows_expand_args, **extra)
        except (Exception, KeyboardInterrupt) as err:
            code = INTERRUPTED if isinstance(err, KeyboardInterrupt) else _tell_error(err, given)
        if code == INTERRUPTED:
            kept = "; finished steps are kept, and the same command goes on from there" if "run" in given[:1] else ""
            _tell(f"stopped{kept}.", INTERRUPTED, "--json" in given)
        sys.exit(code or DONE)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; typer would take these two for a reader of stdout or a user who went away."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as err:
            raise RuntimeError(f"{type(err).__name__} {err}".strip()) from err


def _tell_error(err: Exception, given: Sequence[str]) -> int:
    """Say what went wrong in as few words as there are, and return the exit code."""
    if "--debug" in given:
        traceback.print_exception(err)
    if isinstance(err, CompressError):
        message, code = str(err), err.exit_code
    elif isinstance(err, TyperException):
        message, code = err.format_message(), WRONG_INPUT
    else:
        first = (str(err).strip().splitlines() or [""])[0]
        message, code = f"unexpected error: {type(err).__name__}: {first}; run again with --debug", FAILED
    _tell(message, code, "--json" in given)
    return code


def _tell(message: str, code: int, as_json: bool) -> None:
    if as_json:
        print_json({"error": message, "exit_code": code})
    sys.stderr.write(message + "\n")


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
