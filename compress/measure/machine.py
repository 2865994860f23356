"""What a result was measured on: the machine, and the versions of what ran."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from compress.processor import processor_flags

CPUINFO = Path("/proc/cpuinfo")
NVIDIA = Path("/proc/driver/nvidia/gpus")
FLAGS_THAT_MATTER = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
DISTRIBUTIONS = (
    "torch",
    "transformers",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "tokenizers",
    "numpy",
    "bert-compress",
)


def machine() -> dict[str, Any]:
    """Describe this machine as run.json does.

    Returns:
        cpu (name), flags (instruction sets that matter for inference, in a fixed order), cores (physical), threads
        (logical processors this process may use), gpu (name or None), memory_bytes (None if unknown), os.
    """
    known = processor_flags()
    return {
        "cpu": _cpu_name(),
        "flags": [flag for flag in FLAGS_THAT_MATTER if flag in known],
        "cores": _cores(),
        "threads": _threads(),
        "gpu": _gpu_name(),
        "memory_bytes": _memory_bytes(),
        "os": platform.platform(),
    }


def versions() -> dict[str, str]:
    """The installed versions of what a result depends on, read without importing any; what is missing is left out."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine_key() -> str:
    """A short hash of what decides speed here; measurements are kept apart by it."""
    facts = machine()
    del facts["os"], facts["memory_bytes"]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _processors() -> list[dict[str, str]]:
    """The entries of /proc/cpuinfo, one for each logical processor; empty where there is no such file."""
    if not CPUINFO.is_file():
        return []
    text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    entries = []
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
        entry = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in entry:
            entries.append(entry)
    return entries


def _cpu_name() -> str:
    for entry in _processors():
        if entry.get("model name"):
            return entry["model name"]
        if "CPU part" in entry:  # ARM tells numbers only
            return f"{platform.machine()} implementer {entry.get('CPU implementer', '?')} part {entry['CPU part']}"
    return platform.processor() or platform.machine() or "unknown"


def _cores() -> int:
    places = {(entry.get("physical id"), entry["core id"]) for entry in _processors() if "core id" in entry}
    return len(places) or os.cpu_count() or 1


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu_name() -> str | None:
    for path in sorted(NVIDIA.glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
