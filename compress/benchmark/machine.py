"""What a result was measured on: the machine, and the versions of what ran."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from compress.processor import core_count, flags_that_matter, processor_name
from compress.runtimes.table import RUNTIMES, load_runtime

NVIDIA = Path("/proc/driver/nvidia/gpus")
DISTRIBUTIONS = ("transformers", "onnx", "tokenizers", "numpy", "bert-compress")
"""Beside those of the runtimes."""


def machine() -> dict[str, Any]:
    """Describe this machine as run.json does.

    Returns:
        cpu (name), flags (instruction sets that matter for inference, in a fixed order), cores (physical), threads
        (logical processors this process may use), gpu (name or None), memory_bytes, os.
    """
    return {
        "cpu": processor_name(),
        "flags": flags_that_matter(),
        "cores": core_count(),
        "threads": len(usable_processors()),
        "gpu": next(iter(gpu_names()), None),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
    }


def versions() -> dict[str, str]:
    """The installed versions of what a result depends on, read without importing any; what is missing is left out."""
    installed = {"python": platform.python_version()}
    ran = [name for runtime in RUNTIMES for name in load_runtime(runtime).distributions]
    for name in [*ran, *DISTRIBUTIONS]:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def commit() -> str | None:
    """The toolkit's commit, with a + when its files differ from it."""
    root = Path(__file__).parents[2]
    return _said("git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*") or None


def machine_key(described: Mapping[str, Any] | None = None) -> str:
    """A short hash of what decides speed, here or on a machine as run.json describes it; measurements are kept apart by it."""
    facts = dict(machine() if described is None else described)
    for name in ("os", "memory_bytes"):
        facts.pop(name, None)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def usable_processors() -> list[int]:
    """The numbers of the logical processors that this process may use."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has none
        return list(process.cpu_affinity())
    return list(range(psutil.cpu_count() or 1))


def gpu_names() -> list[str]:
    """What NVIDIA's driver calls the GPUs here; where it is hidden, as in containers, its tool is asked."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(NVIDIA.glob("*/information"))]
    lines = [line for text in texts for line in text.splitlines()]
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names or _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _said(*command: str) -> str:
    """What a command prints; nothing where it is not there or fails."""
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "" if completed.returncode else completed.stdout.strip()
