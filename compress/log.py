"""Logging and progress: what the libraries underneath may say, and how a step tells how far it is."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Protocol

LIBRARIES = (
    "transformers",
    "torch",
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "onnxruntime",
    "datasets",
    "huggingface_hub",
    "accelerate",
    "optimum",
    "httpx",
    "filelock",
    "fsspec",
    "root",
)


class Progress(Protocol):
    """Told how far the running step is; `facts` are numbers worth showing (loss, examples_per_second)."""

    def __call__(self, what: str, done: int, total: int, **facts: float) -> None: ...


def no_progress(what: str, done: int, total: int, **facts: float) -> None:
    """Show nothing."""


def configure(quiet: bool = False, debug: bool = False) -> None:
    """Send the toolkit's log lines to stderr. Called by the command line alone.

    Args:
        quiet: Show warnings and errors only.
        debug: Show every detail, and what the libraries underneath say.
    """
    is_first = os.environ.get("RANK", "0") == "0"  # of processes that were launched together
    level = logging.DEBUG if debug else logging.WARNING if quiet or not is_first else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if debug else "%(message)s"))
    own = logging.getLogger("compress")
    own.handlers[:] = [handler]
    own.setLevel(level)
    own.propagate = False
    if not debug:
        warnings.simplefilter("ignore")
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(logging.ERROR)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


@contextlib.contextmanager
def libraries_silenced() -> Iterator[None]:
    """Hold back the warnings and log lines of the libraries underneath, unless the toolkit logs at DEBUG."""
    own = logging.getLogger("compress")
    if own.isEnabledFor(logging.DEBUG):
        yield
        return
    loggers = [logging.getLogger(name) for name in (None, *LIBRARIES, "compress")]
    levels = [logger.level for logger in loggers]
    try:
        own.setLevel(own.getEffectiveLevel())
        for logger in loggers[:-1]:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
