"""What a result depends on, as one hash: arguments, data, seed, versions, and the source of the code that made it."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compress import tasks
from compress.models import families, traits
from compress.runtimes.table import DEFAULT, RUNTIMES, load_runtime
from compress.sources import path_of
from compress.targets import TARGETS, runtime_of

VERSIONS = ("torch", "transformers", "tokenizers", "accelerate")
WRITERS = ("onnx", "onnxscript", "onnx-ir")
"""What writes files, besides torch."""


def digest(value: Any) -> str:
    """A short hash of anything that JSON can say."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of these distributions; what is missing is left out."""
    installed = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def shipping_of(target: str) -> dict[str, Any]:
    """What a target's files, and their speed, depend on beside the model: the versions of what writes, proves and runs them,
    and the code that does."""
    ran = dict.fromkeys((DEFAULT, runtime_of(target)))  # each file is proved in onnxruntime first
    names = (*VERSIONS, *WRITERS, *(name for runtime in ran for name in load_runtime(runtime).distributions))
    source = source_digest(TARGETS[target], "compress.targets.exporting", *(RUNTIMES[runtime] for runtime in ran))
    return {"versions": versions(names), "source": source}


def folder_digest(folder: Path) -> str:
    """A hash of the files of a model's folder: names and contents."""
    total = hashlib.sha256()
    for path in sorted((*folder.iterdir(), *folder.glob("[0-9]_*/*"))):  # and the modules of sentence-transformers
        if path.suffix in (".json", ".safetensors", ".txt"):
            total.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:24]


def source_digest(*modules: str) -> str:
    """A hash of the code of these modules of ours and of every module of ours that they import, however far.

    Of the tables whose entries are imported when one is asked for, families, traits and kinds of tasks, all entries count.
    Comments, docstrings and layout do not.
    """
    tables = {families.__name__: families.FAMILIES, traits.__name__: traits.TRAITS, tasks.__name__: tasks.TASKS}
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = path_of(name)
        if name not in seen and path is not None:
            seen[name], imported = _read(path)
            waiting += [*imported, *tables.get(name, {}).values()]
    return digest(sorted(seen.items()))


@functools.cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("compress."):
            imported += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names if name.name.startswith("compress.")]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imported)
