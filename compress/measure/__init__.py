"""MEASURE: latency, memory, size and accuracy of the deployed file, and what they are worth."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_HOMES = {
    "Measurement": "compress.measure.measurement",
    "Subject": "compress.measure.subjects",
    "assert_better_than_chance": "compress.tasks.chance",
    "evaluate": "compress.measure.measurement",
    "judge": "compress.measure.gates",
    "latencies": "compress.measure.measurement",
    "machine_key": "compress.measure.machine",
    "measure": "compress.measure.measurement",
    "versions": "compress.measure.machine",
}
__all__ = [
    "Measurement",
    "Subject",
    "assert_better_than_chance",
    "evaluate",
    "judge",
    "latencies",
    "machine_key",
    "measure",
    "versions",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a process that times a file loads little else."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'compress.measure' has no attribute {name!r}")


class _Package(ModuleType):
    """This package, which can be called: `compress.measure` is the function and, once imported, the package as well."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what `compress.measure.measurement.measure` does."""
        return self.measure(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
