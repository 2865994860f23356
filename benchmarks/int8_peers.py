"""What the peers of benchmarks/int8_runtimes.py make of a model, each in its own tool's words.

python benchmarks/int8_peers.py stock MODEL OUT            (in an environment with optimum-onnx)
python benchmarks/int8_peers.py nncf MODEL.onnx INPUTS.npz OUT.xml          (in one with nncf)
python benchmarks/int8_peers.py serve                      (reads one JSON request on stdin, as the benchmark sends it)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


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

    with np.load(inputs) as file:
        batches = [
            {name: file[f"{name}.{index}"] for name in ("input_ids", "attention_mask", "token_type_ids")}
            for index in range(len(file.files) // 3)
        ]
    quantized = nncf.quantize(
        openvino.Core().read_model(model),
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def serve() -> None:
    """Time a subject at every shape, or let it answer batches."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    call = {"torch": _torch, "onnxruntime": _onnxruntime, "openvino": _openvino}[request["runtime"]](request)
    if request.get("batches"):
        with np.load(request["batches"]) as file:
            names = ("input_ids", "attention_mask", "token_type_ids")
            count = len(file.files) // 3
            logits = [call({name: file[f"{name}.{index}"] for name in names}) for index in range(count)]
        np.save(request["answers"], np.concatenate(logits))
        answer: dict[str, Any] = {}
    else:
        from compress.benchmark.worker import random_inputs, time_calls

        answer = {"samples": []}
        for batch, length in request["shapes"]:
            inputs = random_inputs(request["vocabulary"], batch, length, request["seed"])
            answer["samples"].append(time_calls(_bound(call, inputs), 3, request["samples"], request["seconds"]))
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump(answer, out)


def _bound(call: Callable[[dict[str, np.ndarray]], np.ndarray], inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: call(inputs)


def _torch(request: dict[str, Any]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(request["threads"])
    model = AutoModelForSequenceClassification.from_pretrained(request["path"]).eval()
    if request["how"] == "bfloat16":
        model = model.to(torch.bfloat16)
    elif request["how"] == "torchao int8":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(model, Int8DynamicActivationInt8WeightConfig())

    def call(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits
        answer: np.ndarray = logits.float().numpy()
        return answer

    return call


def _onnxruntime(request: dict[str, Any]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])
    wanted = [node.name for node in session.get_inputs()]
    return lambda inputs: np.asarray(session.run(["logits"], {name: inputs[name] for name in wanted})[0], dtype=np.float32)


def _openvino(request: dict[str, Any]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import openvino

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": request["threads"]}
    if request["how"]:
        settings["INFERENCE_PRECISION_HINT"] = request["how"]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(request["path"]), "CPU", settings)
    asked, wanted = compiled.create_infer_request(), [port.get_any_name() for port in compiled.inputs]
    return lambda inputs: np.array(asked.infer({name: inputs[name] for name in wanted})["logits"], dtype=np.float32)


if __name__ == "__main__":
    {"stock": stock, "nncf": nncf, "serve": serve}[sys.argv[1]](*sys.argv[2:])
