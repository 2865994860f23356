"""Numbers that take long, each kept as soon as it is known, so that none is computed twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.disk import write_lasting
from compress.log import Progress, no_progress
from compress.pipeline.cache import Cache
from compress.pipeline.keys import VERSIONS, digest, source_digest, versions

logger = logging.getLogger(__name__)

ROOM = "landscapes"
VALUES = "values.jsonl"


@dataclass(frozen=True)
class Store:
    """Where numbers are kept, and who is told of them.

    Args:
        cache: None keeps nothing.
        progress: Told after each number.
    """

    cache: Cache | None = None
    progress: Progress = no_progress

    def numbers(self, what: str, depends: Mapping[str, Any], count: int, compute: Callable[[int], float]) -> list[float]:
        """So many numbers, each computed by its index unless it was before; what a killed call left is taken up.

        Args:
            what: For who is told of progress.
            depends: All that the numbers depend on but for code and versions, for JSON.
            count: How many.
            compute: Gives the number of an index, whatever was asked before.
        """
        if self.cache is None:
            return [self._told(what, index, count, compute(index)) for index in range(count)]
        key = _key({**depends, "count": count})
        finished = self.cache.find(ROOM, key)
        if finished is None:
            with self.cache.alone(ROOM, key):
                finished = self.cache.find(ROOM, key)
                if finished is None:
                    self._grow(self.cache.partial(ROOM, key) / VALUES, what, count, compute)
                    finished = self.cache.finish(ROOM, key, {"count": count})
        return _read(finished / VALUES)

    def _grow(self, path: Path, what: str, count: int, compute: Callable[[int], float]) -> None:
        values = _read(path)[:count]
        if values:
            logger.info("%s goes on behind %d of %d", what, len(values), count)
        write_lasting(path, "".join(_line(value) for value in values).encode())  # without a line that was torn
        with path.open("a", encoding="utf-8") as file:
            for index in range(len(values), count):
                file.write(_line(self._told(what, index, count, compute(index))))
                file.flush()

    def _told(self, what: str, index: int, count: int, value: float) -> float:
        self.progress(what, index + 1, count)
        return value


def _line(value: float) -> str:
    return f"{json.dumps(value)}\n"


def _read(path: Path) -> list[float]:
    """The numbers of a file up to its first line that is not whole."""
    values: list[float] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else ():
        try:
            value = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            value = None
        if not isinstance(value, float | int):
            break
        values.append(float(value))
    return values


def _key(depends: Mapping[str, Any]) -> str:
    source = source_digest("compress.landscapes.surfaces", "compress.landscapes.sharpness")
    return digest({**depends, "source": source, "versions": versions(VERSIONS)})
