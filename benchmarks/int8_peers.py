"""What the peers of benchmarks/int8_runtimes.py make of a model, each in its own tool's words.

python benchmarks/int8_peers.py stock MODEL OUT            (in an environment with optimum-onnx)
python benchmarks/int8_peers.py nncf MODEL.onnx INPUTS.npz OUT.xml          (in one with nncf)
"""

from __future__ import annotations

import sys

from peer_process import read_batches


def stock(model: str, out: str) -> None:
    """Export with optimum, and quantize dynamically with its preset for AVX-512 VNNI."""
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    ORTModelForSequenceClassification.from_pretrained(model, export=True).save_pretrained(out)
    preset = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(out).quantize(save_dir=out, quantization_config=preset)


def nncf(model: str, inputs: str, out: str) -> None:
    """Quantize an ONNX file after training, as OpenVINO's documentation tells for transformers."""
    import nncf
    import openvino

    batches = read_batches(inputs)
    quantized = nncf.quantize(
        openvino.Core().read_model(model),
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


if __name__ == "__main__":
    {"stock": stock, "nncf": nncf}[sys.argv[1]](*sys.argv[2:])
