"""What the process that answers does with a file: open it, run batches through it, write down what a runtime made of it.

Run as `python -m compress.runtimes.answering`. Imports as little as the file needs.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtimes.answers import check_shape
from compress.runtimes.frames import Arrays
from compress.runtimes.runtime import ANSWERED, LOGITS, Runtime, Session
from compress.runtimes.serving import Answer, Handler, serve
from compress.runtimes.writing import GIVEN


def runtime_in(module: str) -> Runtime:
    """The runtime of a module."""
    runtime: Runtime = importlib.import_module(module).RUNTIME
    return runtime


class OpenFile:
    """The one file that this process has open."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def handlers(self) -> dict[str, Handler]:
        """What it can be asked."""
        return {"open": self.open, "run": self.run, "kernels": self.kernels}

    def open(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        """Open `path` in the runtime of `module`, whose own options are the rest; with `segment`, a file that reads so many
        tokens, so that it reads whole texts."""
        runtime, path = runtime_in(request.pop("module")), Path(request.pop("path"))
        segment = request.pop("segment", None)
        if segment is None:
            self._session = runtime.open(path, **request)
        else:
            self._session = _of_whole_texts(runtime.graph(path, **request), path, segment)
        return {}, {}

    def run(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        """Give the logits of a batch; of these `places` alone, (batch, length), where they are named."""
        assert self._session is not None
        arrays = dict(arrays)
        places = arrays.pop(ANSWERED, None)
        logits = np.asarray(self._session.run(arrays)[LOGITS], dtype="<f4")
        examples, length = arrays.get(GIVEN, arrays["input_ids"]).shape
        check_shape(logits.shape, examples, request.get("labels"), length=length, of_tokens=None if places is None else True)
        return {}, {LOGITS: logits if places is None else logits[places != 0][None]}

    def kernels(self, request: dict[str, Any], arrays: Arrays) -> Answer:
        """Tell what the runtime made of the file's operators."""
        assert self._session is not None
        return asdict(self._session.kernels()), {}


def _of_whole_texts(session: Session, path: Path, segment: int) -> Session:
    """A file that reads segments, as one that reads whole texts."""
    from compress.runtimes.segment_reader import SegmentFile

    file = SegmentFile(session.inputs, session.run, path)
    return Session(lambda batch: {LOGITS: file.read_batch(batch, segment)}, kernels=session.kernels)


if __name__ == "__main__":
    serve(OpenFile().handlers())
