"""SHIP: one file, one target; torch model in, a folder with an ONNX file out."""

from __future__ import annotations

TARGETS = {
    "onnxruntime-cpu": "compress.export.onnxruntime_cpu",
    "onnxruntime-cpu-int8": "compress.export.onnxruntime_cpu_int8",
}
