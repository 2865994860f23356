"""Stands for `compress.search.child`: PARENT REQUEST. What the override `do` says is done in place of a run."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from compress.errors import CompressError
from compress.runtimes.serving import die_with
from compress.search.trial import COMPLETE, FAILED, Trial, write_outcome


def main(parent: str, request_file: str) -> None:
    """Do as the request says, and count how often it was asked for."""
    die_with(int(parent))
    path = Path(request_file)
    request = json.loads(path.read_text(encoding="utf-8"))
    with (path.parent / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    do = request["overrides"].get("do")
    if do == "sleep":
        time.sleep(60)
    if do == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if do == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "grow":
        grown = bytearray(200_000_000)
        time.sleep(60)
        del grown
    if do == "memory":
        sys.exit("MemoryError: tried to allocate 7 PB")
    if do == "fail":
        outcome = Trial(request["overrides"], FAILED, path.parent, error="no such layer", exit_code=CompressError.exit_code)
    else:
        outcome = Trial(request["overrides"], COMPLETE, path.parent, metric="accuracy", quality=0.5)
    write_outcome(outcome, request)


if __name__ == "__main__":
    main(*sys.argv[1:])
