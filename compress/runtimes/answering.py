"""What the process that answers does with a file: open it, run batches through it, write down what a runtime made of it.

Run as `python -m compress.runtimes.answering`. Imports as little as the file needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtimes.answers import check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.serving import Answer, Handler, serve

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class OpenFile:
    """The one file that this process has open."""

    def __init__(self) -> None:
        self._run: Run | None = None

    def handlers(self) -> dict[str, Handler]:
        """What it can be asked."""
        return {"open": self.open, "run": self.run, "optimize": optimize}

    def open(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        """Open `path` in `runtime`, whose own options are the rest; tell the operators of a compiled graph."""
        openers: dict[str, Callable[..., tuple[Run, dict[str, Any]]]] = {
            "onnxruntime": _onnxruntime,
            "openvino": _openvino,
            "segments": _segments,
            "as written": _as_written,
        }
        self._run, told = openers[request.pop("runtime")](Path(request.pop("path")), **request)
        return told, {}

    def run(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        """Give the logits of a batch."""
        assert self._run is not None
        logits = np.asarray(self._run(arrays), dtype="<f4")
        examples, length = arrays["input_ids"].shape
        check_shape(logits.shape, examples, request.get("labels"), length=length)
        return {}, {"logits": logits}


def optimize(request: dict[str, Any], arrays: Arrays) -> Answer:
    """Write the graph that onnxruntime really runs on the CPU, after its own fusions, to `to`."""
    import onnxruntime

    from compress.runtimes.sessions import loaded

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = request["to"]
    loaded(Path(request["path"]), options)
    return {}, {}


def _onnxruntime(path: Path, *, device: str) -> tuple[Run, dict[str, Any]]:
    from compress.run_errors import refuse_run
    from compress.runtimes.sessions import LOGITS, feeds, open_session

    session = open_session(path, device=device, spinning=False)

    def run(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return np.asarray(session.run([LOGITS], feeds(session, batch))[0], dtype=np.float32)
        except Exception as err:  # onnxruntime's errors have no common class of their own
            refuse_run(err, path, batch)

    return run, {}


def _as_written(path: Path, *, fused: bool) -> tuple[Run, dict[str, Any]]:
    """A file of ours, with onnxruntime's own options, and with or without its fusions."""
    import onnxruntime

    from compress.run_errors import refuse_run
    from compress.runtimes.sessions import feeds, loaded

    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = loaded(path, options)

    def run(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return np.asarray(session.run(None, feeds(session, batch))[0], dtype=np.float32)
        except Exception as err:  # onnxruntime's errors have no common class of their own
            refuse_run(err, path, batch)

    return run, {}


def _openvino(path: Path, *, precision: str) -> tuple[Run, dict[str, Any]]:
    from compress.runtimes.openvino_session import open_openvino

    compiled = open_openvino(path, precision=precision)
    return compiled.run, {"operators": compiled.operators}


def _segments(path: Path, *, segment: int, in_runtime: str, precision: str) -> tuple[Run, dict[str, Any]]:
    """A file that reads segments, so that it reads whole texts."""
    from compress.runtimes.segment_reader import open_segment_file

    file = open_segment_file(path, runtime=in_runtime, precision=precision)  # type: ignore[arg-type]
    return lambda batch: file.read_batch(batch, segment), {"operators": file.operators}


if __name__ == "__main__":
    serve(OpenFile().handlers())
