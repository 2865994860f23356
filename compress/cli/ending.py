"""How a command ends: errors become one message, and each its exit code."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from compress.cli.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_INPUT
from compress.cli.printing import print_json, shortened
from compress.errors import CompressError

_NO_SUCH_FILE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EEXIST,
    }
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE})


class Commands(TyperGroup):
    """The commands, with one place where errors become messages and exit codes."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and leave with its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            with _terminated_like_interrupted():
                code = super().main(given, prog_name or "bert-compress", complete_var, False, windows_expand_args, **extra)
        except (Exception, KeyboardInterrupt) as err:
            code = INTERRUPTED if isinstance(err, KeyboardInterrupt) else _tell_error(err, given)
        if code == INTERRUPTED:
            goes_on = given[:1] in (["run"], ["auto"])
            kept = "; finished steps are kept, and the same command goes on from there" if goes_on else ""
            _tell(f"stopped{kept}.", INTERRUPTED, given)
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
    message, code = _said_of_others(err) or _said(err)
    _tell(message, code, given)
    return code


def _said_of_others(err: Exception) -> tuple[str, int] | None:
    """What to say where something failed only since another process of the run ended."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or isinstance(err, CompressError):
        return None
    from compress.pipeline.processes import is_left_alone

    if not is_left_alone(err):
        return None
    return (
        "another process of this run ended without a word, most likely since memory ran out there; take a smaller batch, and "
        "run the same command again: finished steps are kept."
    ), FAILED


def _said(err: Exception) -> tuple[str, int]:
    if isinstance(err, CompressError):
        return str(err), err.exit_code
    if isinstance(err, TyperException):
        return err.format_message(), WRONG_INPUT
    if isinstance(err, OSError) and err.errno in _NO_SUCH_FILE and err.filename is not None:
        return f"{err.filename}: {err.strerror}; name a file or folder that is there and may be read and written.", WRONG_INPUT
    if isinstance(err, OSError) and err.errno in _NO_ROOM:
        where = f"{err.filename}: " if err.filename is not None else ""
        return f"{where}{err.strerror}; free some room, or name another folder, and run the command again.", FAILED
    if isinstance(err, RecursionError):
        return "something in the input is nested too deeply to be read; unfold it, and run the command again.", WRONG_INPUT
    if isinstance(err, MemoryError):
        return "the memory is full; take a smaller batch, shorter texts or less data, and run the command again.", FAILED
    first = (str(err).strip().splitlines() or [""])[0]
    return f"unexpected error: {type(err).__name__}: {first}; run again with --debug", FAILED


def _tell(message: str, code: int, given: Sequence[str]) -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1":  # torch is not imported for what one process has to say
        from compress.pipeline.processes import tells, whose

        if not tells():
            return
        message = whose() + message
    said = shortened(message)
    if _wants_json(given):
        try:
            print_json({"error": said, "exit_code": code})
        except CompressError as err:  # stdout takes nothing: what was to be said first is still said on stderr
            said += f"\n{err}"
    sys.stderr.write(said + "\n")


def _wants_json(given: Sequence[str]) -> bool:
    """Whether --json stands among the options, rightly written or not, or --format json."""
    options = list(given[: given.index("--")] if "--" in given else given)
    as_format = any(pair == ("--format", "json") for pair in itertools.pairwise(options)) or "--format=json" in options
    return as_format or any(option.partition("=")[0] == "--json" for option in options)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
