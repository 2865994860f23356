"""SHIP: one file, one target; torch model in, a folder with an ONNX file out."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from compress.plugins import with_plugins

TARGETS = with_plugins(
    "targets",
    {
        "onnxruntime-cpu": "compress.export.onnxruntime_cpu",
        "onnxruntime-cpu-int8": "compress.export.onnxruntime_cpu_int8",
        "openvino-cpu": "compress.export.openvino_cpu",
        "openvino-cpu-int8": "compress.export.openvino_cpu_int8",
        "tensorrt-int8": "compress.export.tensorrt_int8",
        "onnxruntime-cuda-fp16": "compress.export.onnxruntime_cuda_fp16",
    },
)


class _Package(ModuleType):
    """This package, which can be called: `compress.export` is the function and, once imported, the package as well."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what `compress.export.exporting.export` does."""
        return importlib.import_module("compress.export.exporting").export(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
