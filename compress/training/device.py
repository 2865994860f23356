"""Where and in what precision to train, and how to keep the allocator from giving memory back."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator

import torch

from compress.errors import InputError

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
KEEP_BYTES, GLIBC_BYTES = 1 << 30, 128 << 10  # the latter are where glibc begins
_inside = 0


def pick_device(device: str) -> str:
    """Turn "auto" into "cuda" or "cpu".

    Raises:
        InputError: The device is unknown, or not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; allowed: auto, cpu, cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is 'cuda', but torch sees no GPU; use --device cpu, or install a CUDA build of torch.")
    return device


def has_fast_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware (elsewhere it is many times slower than float32)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep freed blocks up to 1 GiB inside, instead of mapping them anew for each tensor.

    A training step on a CPU frees and allocates the same hundreds of megabytes over and over; fetching them from the
    kernel each time, page by page, took up to a fifth of the step. Behind the outermost one, glibc's own limits hold again.
    Elsewhere than on glibc nothing happens.
    """
    global _inside
    _inside += 1
    _set_limits(KEEP_BYTES)
    try:
        yield
    finally:
        _inside -= 1
        if not _inside:
            _set_limits(GLIBC_BYTES)


def _set_limits(size: int) -> None:
    if os.name == "posix":
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (AttributeError, OSError):
            return
        mallopt(M_MMAP_THRESHOLD, size)
        mallopt(M_TRIM_THRESHOLD, size)
