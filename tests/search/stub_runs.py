"""Stands for `compress.search.child` in sweeps: PARENT REQUEST. What a trial scores is worked out of what was chosen."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from compress.errors import CompressError
from compress.runtimes.serving import die_with
from compress.search.trial import COMPLETE, FAILED, Trial, write_outcome


def main(parent: str, request_file: str) -> None:
    """Score (1 - |keep - 3| / 10), take `keep` ms and lr * 1e6 bytes; fail for keep 5. Write down who did."""
    die_with(int(parent))
    path = Path(request_file)
    request = json.loads(path.read_text(encoding="utf-8"))
    chosen = request["overrides"]
    with (path.parent / "starts").open("a") as starts:
        starts.write(f"{os.getpid()} {json.dumps(chosen, sort_keys=True)}\n")
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
    folder, rate = path.parent, chosen.get("steps.distill.learning_rate", 1e-4)
    epochs = chosen.get("steps.distill.epochs", 3)
    if epochs == 5:
        outcome = Trial(chosen, FAILED, folder, request["judged_on"], error="no such layer", exit_code=CompressError.exit_code)
    else:
        quality = 1 - abs(epochs - 3) / 10 - (0.01 if request["judged_on"] == "evaluation" else 0)
        outcome = Trial(
            chosen,
            COMPLETE,
            folder,
            request["judged_on"],
            metric="accuracy",
            quality=quality,
            p50_ms=float(epochs),
            speedup=10 / epochs,
            size_bytes=int(rate * 1e6),
        )
    write_outcome(outcome, request)
    with (path.parent / "ends").open("a") as ends:
        ends.write(f"{os.getpid()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
