"""A file that may be anyone's, opened by a runtime in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.run_errors import SMALLER
from compress.runtimes import answering
from compress.runtimes.external_data import external_files
from compress.runtimes.graph_files import graph_files
from compress.runtimes.limits import TIME_LIMIT_SECONDS
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.runtime import Kernels
from compress.runtimes.table import module_of

AGAIN = "export the model again"


class ForeignFile:
    """An open file. Its process ends with it.

    Args:
        path: The file.
        runtime: What opens it, of `compress.runtimes.table`.
        module: What the process runs: `compress.runtimes.answering`, or one that can do more.
        time_limit: Seconds that opening it, and the answer to a batch, may take each.
        options: The runtime's; and `segment`, of a file that reads segments: so many tokens at once, so that it reads whole
            texts.

    Raises:
        InputError: It cannot be loaded, or names files outside its folder.
        CompressError: The runtime crashed over it, or took too long.
    """

    def __init__(
        self,
        path: Path,
        runtime: str,
        *,
        module: str = answering.__name__,
        time_limit: float = TIME_LIMIT_SECONDS,
        **options: Any,
    ) -> None:
        for file in graph_files(path):
            external_files(file)
        self.path = path
        self.process = RuntimeProcess(module, time_limit=time_limit)
        request = {"do": "open", "path": str(path), "module": module_of(runtime), **options}
        try:
            self.process.ask(f"opening {path}", request, cure=AGAIN)
        except BaseException:
            self.process.end()
            raise

    def run(self, batch: Mapping[str, np.ndarray], labels: int | None = None) -> np.ndarray:
        """Turn a batch, (batch, length) each, into logits, (batch, labels), float32.

        Raises:
            InputError: The file cannot run it.
            CompressError: The runtime crashed over it, or took too long; or the answer has another shape.
        """
        examples, length = batch["input_ids"].shape
        what = f"running {examples} examples of {length} tokens through {self.path}"
        arrays = {name: np.asarray(values, dtype="<i8") for name, values in batch.items()}
        return self.process.ask(what, {"do": "run", "labels": labels}, arrays, cure=f"{SMALLER}, {AGAIN}")[1]["logits"]

    def kernels(self) -> Kernels:
        """What the runtime made of the file's operators."""
        answer, _ = self.process.ask(f"opening {self.path}", {"do": "kernels"}, cure=AGAIN)
        return Kernels(answer["integer_ops"], answer["fused_ops"], tuple(answer["stayed_float"]))
