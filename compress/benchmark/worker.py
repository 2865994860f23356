"""The process in which a subject is timed, answers batches, and is profiled: see `compress.runtimes.serving`.

Run as `python -m compress.benchmark.worker`. Imports as little as the subject needs, since what is imported is part of the
memory that is reported.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtimes.answering import OpenFile, runtime_in
from compress.runtimes.answers import check_finite, check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.runtime import LOGITS, Call
from compress.runtimes.serving import Answer, Handler, serve

FEWEST_SAMPLES = 3


def handlers() -> dict[str, Handler]:
    """What this process can be asked."""
    return OpenFile().handlers() | {"time": time_subject, "profile": profile}


def time_subject(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Load a subject, time every shape, and tell the samples (milliseconds, one list for each shape) and the peak memory.

    The first answer to each shape is looked at: what answers nonsense is not worth timing.

    Args:
        request: `module` (of the runtime), `options` (the runtime's), `path` (the folder), `device`, `threads`, `shapes`
            (pairs of batch and length), `vocabulary` (size), `labels` (or None), `warm_up`, `samples`, `seconds` (or None) and
            `seed`.
        arrays: None are needed.
    """
    runtime = runtime_in(request["module"])
    how = {"threads": request["threads"], "device": request["device"], **request["options"]}
    session = runtime.open(runtime.place(Path(request["path"])), **how)
    samples = []
    for batch, length in request["shapes"]:
        inputs = random_inputs(request["vocabulary"], batch, length, request["seed"])
        logits = session.run(inputs)[LOGITS]
        check_shape(logits.shape, batch, request["labels"], length=length)
        check_finite(logits)
        samples.append(time_calls(session.call_of(inputs), request["warm_up"] - 1, request["samples"], request["seconds"]))
    return {"samples": samples, "peak_memory_bytes": peak_memory_bytes()}, {}


def profile(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Count the multiply-adds of the file `path` at a `length`."""
    from compress.benchmark.counts import onnx_macs

    return {"macs": onnx_macs(Path(request["path"]), request["length"])}, {}


def random_inputs(vocabulary: int, batch: int, length: int, seed: int) -> dict[str, np.ndarray]:
    """Token ids drawn from the whole vocabulary, full length, no padding, each (batch, length)."""
    ids = np.random.default_rng((seed, batch, length)).integers(0, vocabulary, (batch, length), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def time_calls(call: Call, warm_up: int, samples: int, seconds: float | None) -> list[float]:
    """Time single calls, in milliseconds.

    Args:
        call: What is timed; it returns when the work is done.
        warm_up: Calls before the first that counts.
        samples: How many calls count.
        seconds: Stop earlier once this time has passed, but not before three calls; None for no such limit.
    """
    for _ in range(warm_up):
        call()
    taken: list[float] = []
    gc.collect()
    gc.disable()
    try:
        begun = time.perf_counter()
        while len(taken) < samples:
            start = time.perf_counter_ns()
            call()
            taken.append(round((time.perf_counter_ns() - start) / 1e6, 4))
            late = seconds is not None and time.perf_counter() - begun >= seconds
            if late and len(taken) >= FEWEST_SAMPLES:
                break
    finally:
        gc.enable()
    return taken


def peak_memory_bytes() -> int | None:
    """The most memory that this process held at once (VmHWM on Linux); None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    serve(handlers())
