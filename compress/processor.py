"""What this machine's processor can do. psutil counts; names and instruction sets, which it lacks, come from /proc/cpuinfo."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")
FLAGS_THAT_MATTER = (
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)


@functools.cache
def processor_flags() -> frozenset[str]:
    """The instruction sets that the kernel reports, in its spelling (`avx512_vnni`, `amx_int8`, ...); empty if unknown."""
    for entry in _entries():
        flags = entry.get("flags") or entry.get("Features")  # x86, ARM
        if flags:
            return frozenset(flags.split())
    return frozenset()


def is_x86() -> bool:
    """Whether this is an x86 processor of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64")


def has_vnni() -> bool:
    """Whether sums of 8-bit products are exact: VNNI or AMX on x86, always on other architectures."""
    if not is_x86():
        return True
    return bool(processor_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})


def int8_processors(weight_bits: int, *, unsigned: bool) -> dict[str, str]:
    """Where an int8 file answers right (`safe_on`), and where it is fast (`fast_on`), in words.

    Args:
        weight_bits: 8 or 7.
        unsigned: Whether activations are unsigned, whose products with 8-bit weights overflow 16 bits on x86 without VNNI.
    """
    everywhere = weight_bits == 7 or not unsigned
    return {
        "safe_on": "every processor" if everywhere else "x86 with VNNI or AMX; ARM",
        "fast_on": "x86 with AVX-512 VNNI, AVX VNNI or AMX; ARM with dot product instructions",
    }


def flags_that_matter() -> list[str]:
    """Those of the instruction sets that decide how fast inference is, in a fixed order."""
    known = processor_flags()
    return [flag for flag in FLAGS_THAT_MATTER if flag in known]


def processor_name() -> str:
    """The processor's name, as the system tells it."""
    for entry in _entries():
        if entry.get("model name"):
            return entry["model name"]
        if "CPU part" in entry:  # ARM tells numbers only
            return f"{platform.machine()} implementer {entry.get('CPU implementer', '?')} part {entry['CPU part']}"
    return platform.processor() or platform.machine() or "unknown"


def core_count() -> int:
    """Physical cores; logical processors where the system does not tell cores apart."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def _entries() -> list[dict[str, str]]:
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
