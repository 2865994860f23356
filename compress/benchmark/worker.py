"""The process in which a subject is timed, answers batches, and is profiled: see `compress.runtimes.serving`.

Run as `python -m compress.benchmark.worker`. Imports as little as the subject needs, since what is imported is part of the
memory that is reported.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.energy import joules, meters, readings
from compress.runtimes.answering import OpenFile, runtime_in
from compress.runtimes.answers import check_finite, check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.runtime import EXIT, LOGITS, Call, Session
from compress.runtimes.serving import Answer, Handler, serve

FEWEST_SAMPLES = 3


def handlers() -> dict[str, Handler]:
    """What this process can be asked."""
    return OpenFile().handlers() | {"time": time_subject, "time_texts": time_texts, "profile": profile, "layers": layers}


def time_subject(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Load a subject, time every shape, and tell the samples (milliseconds, one list for each shape), the peak memory, the
    energy of one call of each shape (joules, or None), warm-up included, and what the start took.

    The first answer to each shape is looked at: what answers nonsense is not worth timing.

    Args:
        request: `module` (of the runtime), `options` (the runtime's), `path` (the folder), `device`, `threads`, `shapes`
            (pairs of batch and length, or of batch and a list of batches' lengths), `vocabulary` (size), `labels` (or None),
            `warm_up`, `samples`, `seconds` (or None), `seed`, and `spawned`, when this process was started.
        arrays: None are needed.
    """
    begun = time.perf_counter()
    session = _opened(request)
    start = {"load_ms": _milliseconds(time.perf_counter() - begun)}
    counters = meters(request["device"])
    samples: list[list[float]] = []
    energy: list[float | None] = []
    for batch, length in request["shapes"]:
        every = [
            random_inputs(request["vocabulary"], batch, tokens, request["seed"])
            for tokens in ([length] if isinstance(length, int) else length)
        ]
        begun = time.perf_counter()
        logits = session.run(every[0])[LOGITS]
        if not samples:
            start["first_answer_ms"] = _milliseconds(time.perf_counter() - begun)
            start["total_ms"] = _milliseconds(time.time() - request["spawned"])
        check_shape(logits.shape, batch, request["labels"], length=every[0]["input_ids"].shape[1])
        check_finite(logits)
        calls = [session.call_of(inputs) for inputs in every]
        before = readings(counters)
        taken = time_calls(
            _in_turn(calls),
            (request["warm_up"] - 1) * len(calls),
            request["samples"],
            request["seconds"],
            len(calls),
        )
        used = joules(counters, before, readings(counters))
        samples.append(taken)
        energy.append(None if used is None else used / (len(taken) + (request["warm_up"] - 1) * len(calls)))
    return {"samples": samples, "energy": energy, "start": start, "peak_memory_bytes": peak_memory_bytes()}, {}


def _in_turn(calls: Sequence[Call]) -> Call:
    """A call that is the next one of several, each time."""
    following = itertools.cycle(calls)
    return calls[0] if len(calls) == 1 else lambda: next(following)()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


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


def layers(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Tell how far the second of two `paths` is from the first at tensors of these `names`, on the examples of `arrays`."""
    from compress.benchmark.layer_errors import errors_of

    return {"errors": errors_of([Path(path) for path in request["paths"]], request["names"], arrays)}, {}


def random_inputs(vocabulary: int, batch: int, length: int | Sequence[int], seed: int) -> dict[str, np.ndarray]:
    """Token ids drawn from the whole vocabulary, each (batch, longest).

    length: of all examples, or of each, which are then padded to the longest.
    """
    lengths = np.full(batch, length) if isinstance(length, int) else np.asarray(length)
    longest = int(lengths.max())
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    ids = np.random.default_rng((seed, batch, longest)).integers(0, vocabulary, (batch, longest), dtype=np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def time_calls(call: Call, warm_up: int, samples: int, seconds: float | None, turn: int = 1) -> list[float]:
    """Time single calls, in milliseconds.

    Args:
        call: What is timed; it returns when the work is done.
        warm_up: Calls before the first that counts.
        samples: How many calls count, rounded up to whole turns.
        seconds: Stop earlier once this time has passed, but not before three calls; None for no such limit.
        turn: Calls that belong together, such as one for each of several batches; it stops after whole turns alone.
    """
    for _ in range(warm_up):
        call()
    return time_each(itertools.repeat(call, -(-samples // turn) * turn), seconds, turn)


def time_each(calls: Iterable[Call], seconds: float | None = None, turn: int = 1) -> list[float]:
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
            if late and len(taken) >= FEWEST_SAMPLES and not len(taken) % turn:
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
