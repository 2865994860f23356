"""The process that answers: it holds the file, and dies with the process that asks, whatever the file makes of it.

Imports as little as it can, since what is imported is part of the memory that is reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import CompressError
from compress.runtimes.frames import Arrays, packed, read_frame

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]
Handler = Callable[[dict[str, Any], Arrays], Answer]
PR_SET_PDEATHSIG = 1
FIRST_TO_GO = "1000"  # when the system runs out of memory


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests on stdin, until it ends, on stdout; what libraries print goes to stderr.

    Args:
        handlers: By what a request's `do` names. A CompressError that one raises is an answer; what else it raises ends the
            process.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; who asks decides
    if len(sys.argv) > 1:
        die_with(int(sys.argv[1]))
    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    while (frame := read_frame(requests)) is not None:
        request, arrays = frame
        try:
            message, results = handlers[request.pop("do")](request, arrays)
        except CompressError as err:
            message, results = {"error": str(err), "exit_code": err.exit_code}, {}
        answers.write(packed(message, results))
        answers.flush()


def die_with(parent: int) -> None:
    """Let this process be killed when the one that started it ends, even while a runtime computes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
