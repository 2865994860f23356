"""Look at this machine and say in plain words what it means for training, for int8 and for the runtimes."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from compress.benchmark.machine import gpu_names, machine
from compress.processor import FLAGS_THAT_MATTER, processor_flags
from compress.runtimes.runtime import Runtime
from compress.runtimes.table import RUNTIMES, load_runtime
from compress.targets.onnx.saturation import sums_saturate

CONTROL_GROUP = Path("/sys/fs/cgroup")
X86 = ("x86_64", "amd64")
ADAM_BYTES = 16  # float32 weight, gradient and two moments of each parameter
BERT_BASE_PARAMETERS = 110e6
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Args:
        name: What was looked at.
        value: What was found.
        meaning: What follows from it, and what to do about it; empty if nothing.
    """

    name: str
    value: str
    meaning: str = ""


def diagnose(flags: Collection[str] | None = None, architecture: str | None = None) -> list[Finding]:
    """Examine processor, memory, GPU and installed runtimes; torch is not imported.

    Args:
        flags: Instruction sets, in the kernel's spelling; this machine's if None.
        architecture: Such as "x86_64" or "aarch64"; this machine's if None.
    """
    flags = frozenset(processor_flags() if flags is None else flags)
    architecture = (architecture or platform.machine()).lower()
    facts = machine()
    return [
        Finding("processor", facts["cpu"]),
        _threads(facts["cores"], facts["threads"]),
        Finding("instruction sets", ", ".join(flag for flag in FLAGS_THAT_MATTER if flag in flags) or UNKNOWN),
        _int8(flags, architecture),
        _sums(),
        _sixteen_bits(flags),
        _memory(facts["memory_bytes"]),
        _gpu(gpu_names(), _version("torch")),
        *(_runtime(load_runtime(name)) for name in RUNTIMES),
        _tensorrt(_version("tensorrt")),
    ]


def _threads(cores: int, threads: int) -> Finding:
    limit = _processor_limit()
    value = f"{cores} cores, {threads} threads usable"
    if limit is not None and limit < threads:
        return Finding(
            "cores",
            f"{value}, {limit:g} processors' time",
            "a control group limits the time: more threads than that wait for each other, and latencies scatter",
        )
    return Finding("cores", value, "a benchmark with more threads than cores measures waiting" if threads > cores else "")


def _int8(flags: Collection[str], architecture: str) -> Finding:
    if architecture not in X86:
        if {"asimddp", "i8mm"} & set(flags):
            return Finding("int8", "dot product instructions", "int8 files run fast; 8-bit weights are exact")
        return Finding("int8", "no dot product instructions seen", "8-bit weights are exact; measure whether int8 pays here")
    if not flags:
        return Finding("int8", UNKNOWN, "the system does not tell instruction sets; 7-bit weights are used to be safe")
    extensions = [
        name
        for name, flag in (("AMX", "amx_int8"), ("AVX-512 VNNI", "avx512_vnni"), ("AVX VNNI", "avx_vnni"))
        if flag in flags
    ]
    if extensions:
        return Finding("int8", ", ".join(extensions), "int8 files run at full speed, and 8-bit weights are exact")
    if "avx2" in flags:
        return Finding(
            "int8",
            "no VNNI",
            "sums of two 8-bit products saturate in 16 bits, so 7-bit weights are used; a product takes three instructions "
            "instead of one, so int8 gains less here than on a processor with VNNI: deploy and measure on the machine "
            "that will serve",
        )
    return Finding("int8", "no AVX2", "int8 is slow on this processor; use the float32 targets")


def _sums() -> Finding:
    """Try onnxruntime's integer kernels."""
    try:
        wrong = sums_saturate()
    except ImportError as err:
        return Finding("int8 sums", UNKNOWN, f"not tried, since {err.name} cannot be imported")
    except Exception as err:  # a broken installation is told below
        return Finding("int8 sums", UNKNOWN, f"onnxruntime could not try them ({type(err).__name__})")
    if wrong:
        return Finding("int8 sums", "overflow", "products of 8-bit weights are wrong here: export with weight_bits 7, as auto")
    return Finding("int8 sums", "exact", "tried in onnxruntime: the largest sums of 8-bit products come out right")


def _sixteen_bits(flags: Collection[str]) -> Finding:
    extensions = [name for name, flag in (("AMX", "amx_tile"), ("AVX-512 BF16", "avx512_bf16")) if flag in flags]
    if extensions:
        return Finding("bfloat16", ", ".join(extensions), "training on the CPU multiplies in bfloat16, which is fast here")
    return Finding("bfloat16", "not in hardware", "training on the CPU stays in float32, since bfloat16 would be emulated")


def _memory(memory_bytes: int | None) -> Finding:
    limit = _memory_limit()
    known = [size for size in (memory_bytes, limit) if size is not None]
    if not known:
        return Finding("memory", UNKNOWN)
    value = f"{min(known) / 1e9:.1f} GB"
    if limit is not None and memory_bytes is not None and limit < memory_bytes:
        value += f" (a control group's limit; the machine has {memory_bytes / 1e9:.1f} GB)"
    need = ADAM_BYTES * BERT_BASE_PARAMETERS
    if min(known) < 2 * need:
        return Finding(
            "memory",
            value,
            f"fine-tuning BERT base needs {need / 1e9:.1f} GB for weights, gradients and moments "
            "alone; use a smaller model or batch_size",
        )
    return Finding("memory", value)


def _gpu(names: list[str], torch_version: str | None) -> Finding:
    if not names:
        return Finding("GPU", "none seen", "training runs on the CPU; recipes and measurements work without a GPU")
    meaning = "training uses it (--device auto)"
    if torch_version and torch_version.endswith("+cpu"):
        meaning = "this torch is a CPU build and cannot use it: install a CUDA build of torch (pytorch.org tells the command)"
    return Finding("GPU", ", ".join(names), meaning)


def _runtime(runtime: Runtime) -> Finding:
    return Finding(runtime.title.lower(), *runtime.diagnosis(_version))


def _tensorrt(version: str | None) -> Finding:
    """Not a runtime here, but what a target writes for."""
    purpose = "needs an NVIDIA GPU"
    return (
        Finding("tensorrt", version, purpose)
        if version
        else Finding("tensorrt", "missing", f"optional: pip install tensorrt ({purpose})")
    )


def _version(name: str) -> str | None:
    """The installed version, read without importing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _control_group(name: str) -> list[str]:
    """The words of a control group's file; empty where there is none, as outside of containers."""
    try:
        return (CONTROL_GROUP / name).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _memory_limit() -> int | None:
    words = _control_group("memory.max")
    return int(words[0]) if words and words[0].isdecimal() else None


def _processor_limit() -> float | None:
    words = _control_group("cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdecimal() else None
