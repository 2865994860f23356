"""The process that times one subject: a JSON request on stdin, a JSON answer on stdout, nothing else.

Run as `python -m compress.measure.worker`. A request has `kind`, `path`, `device`, `threads`, `shapes` (pairs of batch and
length), `vocabulary` (size), `warm_up`, `samples`, `seconds` (or null) and `seed`. The answer has `samples` (milliseconds, one
list for each shape) and `peak_memory_bytes`, or `error` for a wrong input. Imports as little as the subject needs, since what
is imported is part of the memory that is reported.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError

FEWEST_SAMPLES = 3
Call = Callable[[], object]


def main() -> None:
    """Answer one request; what libraries print goes to stderr."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    try:
        answer = serve(request)
    except InputError as err:
        answer = {"error": str(err)}
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump(answer, out)


def serve(request: Mapping[str, Any]) -> dict[str, Any]:
    """Load the subject, time every shape, and tell the samples and the process's peak memory."""
    prepare = {"onnx": _open_onnx, "openvino": _open_openvino, "torch": _open_torch}[request["kind"]](request)
    samples = []
    for batch, length in request["shapes"]:
        call = prepare(random_inputs(request["vocabulary"], batch, length, request["seed"]))
        samples.append(time_calls(call, request["warm_up"], request["samples"], request["seconds"]))
    return {"samples": samples, "peak_memory_bytes": peak_memory_bytes()}


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


def _open_onnx(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    from compress.measure.sessions import feeds, open_session

    session = open_session(Path(request["path"]) / "model.onnx", threads=request["threads"], device=request["device"])

    def prepare(inputs: dict[str, np.ndarray]) -> Call:
        given = feeds(session, inputs)
        return lambda: session.run(["logits"], given)

    return prepare


def _open_openvino(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    from compress.measure.subjects import precision_of
    from compress.openvino_session import open_openvino

    folder = Path(request["path"])
    compiled = open_openvino(folder / "model.onnx", threads=request["threads"], precision=precision_of(folder))
    return lambda inputs: lambda: compiled.run(inputs)


def _open_torch(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    import torch

    from compress.measure.runners import check_torch_device, load_torch

    check_torch_device(request["device"])
    torch.set_num_threads(request["threads"])
    torch.set_num_interop_threads(1)
    model = load_torch(Path(request["path"]), request["device"])
    device = torch.device(request["device"])

    def prepare(inputs: dict[str, np.ndarray]) -> Call:
        given = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}

        def call() -> None:
            with torch.inference_mode():
                model(**given)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return call

    return prepare


if __name__ == "__main__":
    main()
