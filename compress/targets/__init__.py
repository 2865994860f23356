"""SHIP: one file, one target; torch model in, a folder with an ONNX file out."""

from __future__ import annotations

from compress.plugins import with_plugins

TARGETS = with_plugins(
    "targets",
    {
        "onnxruntime-cpu": "compress.targets.onnxruntime_cpu",
        "onnxruntime-cpu-int8": "compress.targets.onnxruntime_cpu_int8",
        "openvino-cpu": "compress.targets.openvino_cpu",
        "openvino-cpu-int8": "compress.targets.openvino_cpu_int8",
        "tensorrt-int8": "compress.targets.tensorrt_int8",
        "onnxruntime-cuda-fp16": "compress.targets.onnxruntime_cuda_fp16",
    },
)
