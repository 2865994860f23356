"""Which runtimes there are: the table, and what is asked by a runtime's name alone."""

from __future__ import annotations

import importlib
import reprlib
from pathlib import Path
from typing import Any

from compress.errors import InputError
from compress.facts import Facts, read_facts
from compress.plugins import with_plugins
from compress.runtimes.runtime import Runtime

RUNTIMES = with_plugins(
    "runtimes",
    {
        "torch": "compress.benchmark.torch_runtime",
        "onnx": "compress.runtimes.onnxruntime",
        "openvino": "compress.runtimes.openvino",
    },
)
"""By the `kind` that run.json calls a subject by. A file has an object RUNTIME."""
TRAINED = "torch"
"""The one that runs no file, but the model as it was trained."""
DEFAULT = "onnx"
"""What runs a file that names no other."""
ALSO_CALLED = {"onnxruntime": "onnx"}


def load_runtime(name: str) -> Runtime:
    """The runtime of a name in RUNTIMES; "onnxruntime" stands for "onnx".

    Raises:
        InputError: There is none.
    """
    runtime: Runtime = importlib.import_module(module_of(name)).RUNTIME
    return runtime


def module_of(name: str) -> str:
    """The module of a runtime, see `load_runtime`; a process that runs a file is told it, since it looks into no table."""
    name = ALSO_CALLED.get(name, name)
    if name not in RUNTIMES:
        raise InputError(
            f"runtime {name!r} is unknown; allowed: {', '.join(RUNTIMES)}. Name one of them, or install the package that "
            "brings it."
        )
    return RUNTIMES[name]


def is_exported(kind: object) -> bool:
    """Whether what run.json calls so is an exported file; its runtime need not be installed here."""
    return isinstance(kind, str) and kind != TRAINED


def settings_of(runtime: Runtime, source: Path | Facts) -> dict[str, Any]:
    """What an exported folder tells a runtime: those of its target's options that the runtime has to know too,
    and of several tasks which is asked (`of_task`).

    Raises:
        InputError: What the folder tells of itself is damaged.
    """
    facts = source if isinstance(source, Facts) else read_facts(source)
    chosen = {} if facts.task_number is None else {"of_task": facts.task_number}
    settings = {name: facts.options[name] for name in runtime.options if name in facts.options}
    for name, value in settings.items():
        if value not in runtime.options[name]:
            allowed = ", ".join(runtime.options[name])
            raise InputError(
                f"{facts.path}: {name} is {reprlib.repr(value)}; allowed: {allowed}. Restore the file, or export the model "
                "again."
            )
    return settings | chosen
