"""Energy that was used, where the machine tells: by RAPL of the processor, by NVML of NVIDIA's GPUs.

Both count all that the processor's package, or the GPU, uses, whoever uses it. Imports nothing but the standard library, since
it is read in the process whose memory is reported.

Source: Linux, Documentation/power/powercap/powercap.rst; NVML API reference, nvmlDeviceGetTotalEnergyConsumption (Volta and
newer).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Meter:
    """A counter that rises.

    Args:
        read: Tells it, in joules.
        turn: At how many joules it begins again at 0; None if it does not.
    """

    read: Callable[[], float]
    turn: float | None = None


def meters(device: str) -> dict[str, Meter]:
    """The counters that can be read here, by name: of each processor package, and of the GPU where one is timed."""
    return _packages() | (_gpu(int(device.partition(":")[2] or 0)) if device.partition(":")[0] == "cuda" else {})


def _packages() -> dict[str, Meter]:
    """RAPL's; its files are for root alone on most systems, and what cannot be read is left out."""
    counters: dict[str, Meter] = {}
    for folder in sorted(POWERCAP.glob("*-rapl:*")):
        if folder.name.count(":") != 1:  # parts of a package, which are in it
            continue
        with contextlib.suppress(OSError, ValueError):
            counter = folder / "energy_uj"
            _micro(counter)
            name = (folder / "name").read_text(encoding="ascii").strip()
            counters[name] = Meter(lambda counter=counter: _micro(counter), _micro(folder / "max_energy_range_uj"))  # type: ignore[misc]
    return counters


def _micro(path: Path) -> float:
    return int(path.read_text(encoding="ascii")) / 1e6


def _gpu(number: int) -> dict[str, Meter]:
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return {}
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)):
        return {}

    def read() -> float:
        used = ctypes.c_ulonglong()
        if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(used)):
            raise OSError(f"NVML tells no energy of GPU {number}")
        return used.value / 1000

    try:
        read()
    except OSError:
        return {}
    return {f"gpu-{number}": Meter(read)}


def readings(every: Mapping[str, Meter]) -> dict[str, float]:
    """What the counters tell now; one that tells no more is left out."""
    levels = {}
    for name, meter in every.items():
        with contextlib.suppress(OSError, ValueError):
            levels[name] = meter.read()
    return levels


def joules(every: Mapping[str, Meter], before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """What was used between two readings, of all counters together; None where there is none, or one fell silent."""
    if not before or before.keys() != after.keys():
        return None
    total = 0.0
    for name, start in before.items():
        used = after[name] - start
        total += used if used >= 0 else used + (every[name].turn or 0.0)
    return total
