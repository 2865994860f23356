"""The files of a bundle: which there are, what writes each, what they are called, and for which devices they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compress.errors import InputError, shown
from compress.facts import Facts


@dataclass(frozen=True)
class Variant:
    """One file of a bundle.

    Args:
        name: As `--variants` calls it.
        file: Its path in the bundle, by the name that readers look for.
        target: What writes it, of TARGETS.
        devices: That it is for, in words, and what it is not for.
        options: Of the target; the others have their defaults.
        integers: What an exported file has to tell of its integers, so that it is taken as it is.
        is_ir: Whether what the target writes is turned into OpenVINO's own format.
    """

    name: str
    file: str
    target: str
    devices: str
    options: Mapping[str, Any] = field(default_factory=dict)
    integers: Mapping[str, str] = field(default_factory=dict)
    is_ir: bool = False

    def is_as(self, facts: Facts) -> bool:
        """Whether an exported folder's file is this one."""
        return (
            facts.target == self.target
            and all(facts.options.get(key) == value for key, value in self.options.items() if key not in self.integers)
            and all(facts.integers.get(key) == value for key, value in self.integers.items())
        )


FP32 = "onnx/model.onnx"
QUANTIZED = "onnx/model_quantized.onnx"
ON_ANY_CPU = {"activations": "dynamic", "weight_bits": 7}
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("fp32", FP32, "onnxruntime-cpu", "every device"),
        Variant(
            "fp16",
            "onnx/model_fp16.onnx",
            "onnxruntime-cuda-fp16",
            "GPUs: CUDA, and WebGPU with shader-f16",
            {"outputs": "float32"},
        ),
        Variant(
            "quantized",
            QUANTIZED,
            "onnxruntime-cpu-int8",
            "every CPU, and WebAssembly, whose default it is; not meant for WebGPU",
            ON_ANY_CPU,
            {key: str(value) for key, value in ON_ANY_CPU.items()},
        ),
        Variant("int8", "onnx/model_int8.onnx", "onnxruntime-cpu-int8", "CPUs; not meant for WebGPU"),
        Variant("q4", "onnx/model_q4.onnx", "onnxruntime-cpu-q4", "CPUs, WebAssembly and WebGPU, where the download decides"),
        Variant("openvino", "openvino/openvino_model.xml", "openvino-cpu", "Intel CPUs, in OpenVINO", is_ir=True),
        Variant(
            "openvino-int8",
            "openvino/openvino_model_qint8_quantized.xml",
            "openvino-cpu-int8",
            "Intel CPUs, in OpenVINO",
            is_ir=True,
        ),
    )
}
"""In the order of the card. `quantized` is what Transformers.js calls q8: signed weights of 7 bits, which no processor
overflows, and ranges that are taken anew in each call; `int8` is what the run exported, or what the target writes by its
defaults on the machine that makes the bundle."""


def variants_named(names: Sequence[str]) -> list[Variant]:
    """The variants of these names, in the order of VARIANTS; all where none is named.

    Raises:
        InputError: A name is none, or is there twice.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise InputError(f"variant {shown(unknown[0])} is unknown; allowed: {', '.join(VARIANTS)}. Name some of them.")
    if len(set(names)) < len(names):
        raise InputError(f"variants are {', '.join(names)}, where one is there twice; name each once.")
    return [variant for name, variant in VARIANTS.items() if not names or name in names]
