"""SHIP: one file, one target; torch model in, a folder with an ONNX file out."""

from __future__ import annotations

from compress.plugins import with_plugins
from compress.runtimes.table import DEFAULT
from compress.sources import text_of

TARGETS = with_plugins(
    "targets",
    {
        "onnxruntime-cpu": "compress.targets.onnxruntime_cpu",
        "onnxruntime-cpu-int8": "compress.targets.onnxruntime_cpu_int8",
        "onnxruntime-cpu-q4": "compress.targets.onnxruntime_cpu_q4",
        "openvino-cpu": "compress.targets.openvino_cpu",
        "openvino-cpu-int8": "compress.targets.openvino_cpu_int8",
        "tensorrt-int8": "compress.targets.tensorrt_int8",
        "onnxruntime-cuda-fp16": "compress.targets.onnxruntime_cuda_fp16",
    },
)


def runtime_of(target: str) -> str:
    """The runtime of a target's file: RUNTIME in the target's module, which is not imported, since a recipe is checked fast.

    Where it does not say, or nobody knows the target here, it is the runtime that all files are ONNX for.
    """
    return (text_of(TARGETS[target], "RUNTIME") if target in TARGETS else None) or DEFAULT


def timed_targets() -> tuple[str, ...]:
    """The targets whose files are for the CPU: those whose module does not name another DEVICE."""
    return tuple(target for target, module in TARGETS.items() if text_of(module, "DEVICE") is None)
