"""The process in which a subject is timed, answers batches, and is profiled: see `compress.runtimes.serving`.

Run as `python -m compress.benchmark.worker`. Imports as little as the subject needs, since what is imported is part of the
memory that is reported.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtimes.answering import OpenFile
from compress.runtimes.answers import check_finite, check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.serving import Answer, Handler, serve

FEWEST_SAMPLES = 3
Call = Callable[[], object]


def handlers() -> dict[str, Handler]:
    """What this process can be asked."""
    return OpenFile().handlers() | {"time": time_subject, "profile": profile}


def time_subject(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Load a subject, time every shape, and tell the samples (milliseconds, one list for each shape) and the peak memory.

    The first answer to each shape is looked at: what answers nonsense is not worth timing.

    Args:
        request: `kind`, `path`, `device`, `threads`, `shapes` (pairs of batch and length), `vocabulary` (size), `labels` (or
            None), `warm_up`, `samples`, `seconds` (or None) and `seed`.
        arrays: None are needed.
    """
    prepare = {"onnx": _open_onnx, "openvino": _open_openvino, "torch": _open_torch}[request["kind"]](request)
    samples = []
    for batch, length in request["shapes"]:
        call = prepare(random_inputs(request["vocabulary"], batch, length, request["seed"]))
        _check(call(), batch, length, request["labels"])
        samples.append(time_calls(call, request["warm_up"] - 1, request["samples"], request["seconds"]))
    return {"samples": samples, "peak_memory_bytes": peak_memory_bytes()}, {}


def _check(answer: Any, examples: int, length: int, labels: int | None) -> None:
    logits = answer if isinstance(answer, np.ndarray) else answer.float().cpu().numpy()
    check_shape(logits.shape, examples, labels, length=length)
    check_finite(logits)


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


def _open_onnx(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    from compress.run_errors import refuse_run
    from compress.runtimes.sessions import LOGITS, feeds, open_session

    path = Path(request["path"]) / "model.onnx"
    session = open_session(path, threads=request["threads"], device=request["device"])

    def prepare(inputs: dict[str, np.ndarray]) -> Call:
        given = feeds(session, inputs)

        def call() -> Any:
            try:
                return session.run([LOGITS], given)[0]
            except Exception as err:  # onnxruntime's errors have no common class of their own
                refuse_run(err, path, inputs)

        return call

    return prepare


def _open_openvino(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    from compress.benchmark.subjects import precision_of
    from compress.runtimes.openvino_session import open_openvino

    folder = Path(request["path"])
    compiled = open_openvino(folder / "model.onnx", threads=request["threads"], precision=precision_of(folder))
    return lambda inputs: lambda: compiled.run(inputs)


def _open_torch(request: Mapping[str, Any]) -> Callable[[dict[str, np.ndarray]], Call]:
    import torch

    from compress.benchmark.runners import check_torch_device, load_torch

    check_torch_device(request["device"])
    torch.set_num_threads(request["threads"])
    torch.set_num_interop_threads(1)
    model = load_torch(Path(request["path"]), request["device"])
    device = torch.device(request["device"])

    def prepare(inputs: dict[str, np.ndarray]) -> Call:
        given = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}

        def call() -> Any:
            with torch.inference_mode():
                logits = model(**given).logits
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return logits

        return call

    return prepare


if __name__ == "__main__":
    serve(handlers())
