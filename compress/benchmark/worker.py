"""The process in which a subject is timed, answers batches, and is profiled: see `compress.runtimes.serving`.

Run as `python -m compress.benchmark.worker`. Imports as little as the subject needs, since what is imported is part of the
memory that is reported.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtimes.answering import OpenFile, runtime_in
from compress.runtimes.answers import check_finite, check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.runtime import EXIT, LOGITS, Call, Session
from compress.runtimes.serving import Answer, Handler, serve

FEWEST_SAMPLES = 3


def handlers() -> dict[str, Handler]:
    """What this process can be asked."""
    return OpenFile().handlers() | {"time": time_subject, "time_texts": time_texts, "profile": profile}


def time_subject(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Load a subject, time every shape, and tell the samples (milliseconds, one list for each shape) and the peak memory.

    The first answer to each shape is looked at: what answers nonsense is not worth timing.

    Args:
        request: `module` (of the runtime), `options` (the runtime's), `path` (the folder), `device`, `threads`, `shapes`
            (pairs of batch and length), `vocabulary` (size), `labels` (or None), `warm_up`, `samples`, `seconds` (or None) and
            `seed`.
        arrays: None are needed.
    """
    session = _opened(request)
    samples = []
    for batch, length in request["shapes"]:
        inputs = random_inputs(request["vocabulary"], batch, length, request["seed"])
        logits = session.run(inputs)[LOGITS]
        check_shape(logits.shape, batch, request["labels"], length=length)
        check_finite(logits)
        samples.append(time_calls(session.call_of(inputs), request["warm_up"] - 1, request["samples"], request["seconds"]))
    return {"samples": samples, "peak_memory_bytes": peak_memory_bytes()}, {}


def time_texts(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Load a subject, let it answer texts one at a time, and tell how long each took (milliseconds), and, where texts leave
    early, at which exit each has left.

    Each text is read once before it counts, and its answer looked at.

    Args:
        request: `module`, `options`, `path`, `device`, `threads` and `labels`, as for `time_subject`.
        arrays: The model's inputs, (tokens of all texts,) each, and the texts' `lengths`.
    """
    session, exits = _opened(request), []
    arrays = dict(arrays)
    ends = np.cumsum(arrays.pop("lengths"))[:-1]
    parts = {name: np.split(values, ends) for name, values in arrays.items()}
    calls: list[Call] = []
    for index in range(len(ends) + 1):
        inputs = {name: texts[index][None] for name, texts in parts.items()}
        outputs = session.run(inputs)
        check_shape(outputs[LOGITS].shape, 1, request["labels"], length=len(parts["input_ids"][index]))
        check_finite(outputs[LOGITS])
        exits += [int(exit) for exit in outputs.get(EXIT, ())]
        calls.append(session.call_of(inputs))
    return {"samples": time_each(calls), "exits": exits}, {}


def _opened(request: dict[str, Any]) -> Session:
    """The subject of a request, in its runtime."""
    runtime = runtime_in(request["module"])
    how = {"threads": request["threads"], "device": request["device"], **request["options"]}
    return runtime.open(runtime.place(Path(request["path"])), **how)


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
    return time_each(itertools.repeat(call, samples), seconds)


def time_each(calls: Iterable[Call], seconds: float | None = None) -> list[float]:
    """Time calls one after the other, in milliseconds; see `time_calls`."""
    taken: list[float] = []
    gc.collect()
    gc.disable()
    try:
        begun = time.perf_counter()
        for call in calls:
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
