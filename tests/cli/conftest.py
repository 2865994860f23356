"""What every test of the command line needs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest

from compress import log


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what the command line sets for its own process."""
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TOKENIZERS_PARALLELISM", "RANK"):
        monkeypatch.setenv(name, "0")
    loggers = [logging.getLogger(name) for name in ("compress", *log.LIBRARIES)]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    with warnings.catch_warnings():
        yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate
