"""The log of a run, kept in memory until its folder is the run's."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from compress.pipeline.processes import is_main

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunLog(logging.Handler):
    """Holds what is logged before there is a file, and writes it there afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.file: logging.FileHandler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file, or hold it."""
        if self.file is None:
            self.records.append(record)
        else:
            self.file.handle(record)

    def open(self, path: Path) -> None:
        """Append what was held, and what comes, to a file."""
        path.parent.mkdir(exist_ok=True)
        self.file = logging.FileHandler(path, mode="a", encoding="utf-8", errors="backslashreplace")
        self.file.setFormatter(logging.Formatter(FORMAT))
        for record in self.records:
            self.file.handle(record)
        self.records.clear()

    def close(self) -> None:
        """Close the file; what comes then is dropped."""
        if self.file is not None:
            self.file.close()
            self.file = None
        super().close()


@contextlib.contextmanager
def logged() -> Iterator[RunLog]:
    """Keep what the toolkit logs, from INFO on, for the log of a run."""
    log = RunLog()
    if not is_main():
        yield log
        return
    own = logging.getLogger("compress")
    level = own.level
    own.addHandler(log)
    if not own.isEnabledFor(logging.INFO):
        own.setLevel(logging.INFO)
    try:
        yield log
    finally:
        own.removeHandler(log)
        own.setLevel(level)
        log.close()
