"""What this machine's processor can do."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


@functools.cache
def processor_flags() -> frozenset[str]:
    """The instruction sets that the kernel reports, in its spelling (`avx512_vnni`, `amx_int8`, ...); empty if unknown."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.lower().startswith(("flags", "features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def has_vnni() -> bool:
    """Whether sums of 8-bit products are exact: VNNI or AMX on x86, always on other architectures."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return bool(processor_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})
