"""A process of its own for a file that may be anyone's: it may crash, or never end, and costs an error message."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from compress.errors import CompressError, InputError
from compress.run_errors import OUT_OF_MEMORY, SMALLER
from compress.runtimes.frames import Arrays, Frame, packed, unpacked
from compress.runtimes.limits import TIME_LIMIT_SECONDS, check_time_limit

STDERR_LINES, STDERR_LETTERS, STDERR_BYTES = 5, 300, 1 << 16
PART = 1 << 16
SLICE_SECONDS = 60.0
LAST_SECONDS = 5.0  # between the end of a process's answers and its own


def worker_command(module: str) -> list[str]:
    """The command of a process that answers; nothing of the working folder is importable in it."""
    return [sys.executable, "-P", "-m", module, str(os.getpid())]


def worker_environment(threads: int | None = None) -> dict[str, str]:
    """This process's environment, with every runtime's threads pinned where their number is given."""
    names = () if threads is None else ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **{name: str(threads) for name in names}, "TOKENIZERS_PARALLELISM": "false"}
    root = Path(__file__).resolve().parents[2]
    if root.name not in ("site-packages", "dist-packages"):  # run from a checkout, installed or not
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment


class RuntimeProcess:
    """A process that answers requests one after the other, and ends with this object, with this process, or when it is late.

    Args:
        module: What it runs; it calls `compress.runtimes.serving.serve`.
        threads: To pin every runtime to; None leaves them as they are.
        time_limit: Seconds that an answer may take.
    """

    def __init__(self, module: str, *, threads: int | None = None, time_limit: float = TIME_LIMIT_SECONDS) -> None:
        check_time_limit(time_limit)
        self.time_limit = time_limit
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe that nobody reads would fill up, and stop it
        self._process = subprocess.Popen(
            worker_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env=worker_environment(threads),
        )
        self._stderr = stderr
        self.end = weakref.finalize(self, _end, self._process, stderr, os.getpid())

    def ask(
        self, what: str, request: Mapping[str, Any], arrays: Arrays | None = None, *, cure: str = SMALLER, failed: str = ""
    ) -> Frame:
        """Ask, and wait for the answer.

        Args:
            what: What it does then, for messages: "timing 'small'".
            request: With `do`, the name of a handler.
            arrays: Of int64 and float32.
            cure: What to do where it takes too long or too much memory.
            failed: Goes before the message of an error that it answers.

        Raises:
            InputError, CompressError: It answers with one.
            CompressError: It crashed, was killed, took too long, or answered nonsense.
        """
        try:
            message, results = self._exchange(what, packed(request, arrays or {}), cure)
        except BaseException:
            self.end()
            raise
        if isinstance(message.get("error"), str):
            kind = InputError if message.get("exit_code") == InputError.exit_code else CompressError
            raise kind(f"{failed}{message['error']}")
        return message, results

    def _exchange(self, what: str, request: bytes, cure: str) -> Frame:
        """Write and read until there is a whole answer."""
        process, answer, waiting = self._process, bytearray(), memoryview(request)
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self.time_limit
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            while (frame := self._frame(what, answer)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CompressError(
                        f"{what} took more than {self.time_limit:g} seconds and was stopped; {cure}, or allow more time "
                        "(time_limit, --time-limit)."
                    )
                for key, _ in selector.select(min(left, SLICE_SECONDS)):
                    if key.fileobj is process.stdout:
                        part = os.read(key.fd, PART)
                        if not part:
                            raise CompressError(self._ended(what, bytes(answer), cure))
                        answer += part
                    else:
                        with contextlib.suppress(BrokenPipeError):  # it has ended, and its answers end too
                            waiting = waiting[os.write(key.fd, waiting[:PART]) :]
                            if waiting:
                                continue
                        selector.unregister(process.stdin)
            return frame

    def _frame(self, what: str, answer: bytearray) -> Frame | None:
        try:
            return unpacked(answer)
        except (ValueError, TypeError, RecursionError) as err:
            raise CompressError(self._nonsense(what, bytes(answer))) from err

    def _nonsense(self, what: str, answer: bytes) -> str:
        text = answer[:200].decode(errors="replace")
        return f"{what}, the process answered {text!r}, which is no answer; its last words: {self._last_words()}"

    def _ended(self, what: str, answer: bytes, cure: str) -> str:
        """Tell why it ended."""
        try:
            code = self._process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        said, words = self._said(), self._last_words()
        if not code:
            return self._nonsense(what, answer)
        if any(sign in said for sign in OUT_OF_MEMORY):
            return f"memory ran out while {what}; {cure}. Its last words: {words}"
        if code == -signal.SIGKILL:
            return (
                f"{what}, the process was killed by the system, most likely because memory ran out; {cure}, or free "
                f"memory. Its last words: {words}"
            )
        how = f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        return f"{what}, the process crashed ({how}); {cure}. Its last words: {words}"

    def _said(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - STDERR_BYTES))
        return self._stderr.read().decode(errors="replace")

    def _last_words(self) -> str:
        lines = [line[:STDERR_LETTERS] for line in self._said().strip().splitlines() if line.strip()][-STDERR_LINES:]
        return "\n  ".join(["", *lines]) if lines else "none."


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes], owner: int) -> None:
    """Kill it, unless this is a fork of the process that started it."""
    if os.getpid() != owner:
        return
    process.kill()
    for stream in (process.stdin, process.stdout, stderr):
        if stream is not None:
            stream.close()
    process.wait()
