"""The process in which a file or model of any tool answers batches or is timed, in that tool's environment.

Reads one JSON request on stdin: `runtime`, `path`, `how`, `threads`; then `batches` or `texts`, and `answers` (files to read
and to write), or what is timed: `vocabulary`, `shapes`, `samples`, `seconds`, `seed`. Answers in JSON on stdout.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
WARM_UP = 3
Batch = dict[str, np.ndarray]
Call = Callable[[Batch], np.ndarray]


def write_batches(path: Path, batches: Sequence[Batch]) -> None:
    """Write batches to a file, the segments of texts as zeros where the tokenizer gives none."""
    np.savez(
        path,
        **{
            f"{name}.{index}": batch.get(name, np.zeros_like(batch["input_ids"]))
            for index, batch in enumerate(batches)
            for name in INPUTS
        },
    )


def read_batches(path: str | Path) -> list[Batch]:
    """What `write_batches` wrote."""
    with np.load(path) as file:
        return [{name: file[f"{name}.{index}"] for name in INPUTS} for index in range(len(file.files) // len(INPUTS))]


def read_answers(path: str | Path) -> list[np.ndarray]:
    """The answers to each batch."""
    with np.load(path) as file:
        return [file[str(index)] for index in range(len(file.files))]


def serve() -> None:
    """Time a subject at every shape, or let it answer batches."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    answer: dict[str, Any] = {}
    if request.get("texts"):
        vectors = TEXT_RUNTIMES[request["runtime"]](request)(json.loads(Path(request["texts"]).read_text(encoding="utf-8")))
        np.savez(request["answers"], **{"0": vectors})
    elif request.get("batches"):
        call = RUNTIMES[request["runtime"]](request)
        answers = {str(index): call(batch) for index, batch in enumerate(read_batches(request["batches"]))}
        np.savez(request["answers"], **answers)
    else:
        from compress.benchmark.worker import random_inputs, time_calls

        call = RUNTIMES[request["runtime"]](request)
        answer["samples"] = []
        for batch, length in request["shapes"]:
            inputs = random_inputs(request["vocabulary"], batch, length, request["seed"])
            answer["samples"].append(time_calls(_bound(call, inputs), WARM_UP, request["samples"], request["seconds"]))
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump(answer, out)


def _bound(call: Call, inputs: Batch) -> Callable[[], object]:
    return lambda: call(inputs)


def _torch(request: dict[str, Any]) -> Call:
    """A classifier as transformers loads it, as it is, in bfloat16 or as torchao quantizes it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(request["threads"])
    model = AutoModelForSequenceClassification.from_pretrained(request["path"]).eval()
    if request["how"] == "bfloat16":
        model = model.to(torch.bfloat16)
    elif request["how"] == "torchao int8":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(model, Int8DynamicActivationInt8WeightConfig())

    def call(inputs: Batch) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits
        answer: np.ndarray = logits.float().numpy()
        return answer

    return call


def _checkpoint(request: dict[str, Any]) -> Call:
    """A torch model of any kind of task, as this toolkit loads it."""
    from compress.benchmark.torch_runtime import open_torch
    from compress.runtimes.runtime import LOGITS

    session = open_torch(Path(request["path"]), threads=request["threads"])
    return lambda inputs: np.asarray(session.run(inputs)[LOGITS])


def _onnxruntime(request: dict[str, Any]) -> Call:
    import onnxruntime

    from compress.runtimes.runtime import as_logits

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])
    wanted = [node.name for node in session.get_inputs()]
    outputs = answers_among([node.name for node in session.get_outputs()])
    return lambda inputs: as_logits(session.run(outputs, {name: inputs[name] for name in wanted}))


def _openvino(request: dict[str, Any]) -> Call:
    import openvino

    from compress.runtimes.runtime import as_logits

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": request["threads"]}
    if request["how"]:
        settings["INFERENCE_PRECISION_HINT"] = request["how"]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(request["path"]), "CPU", settings)
    asked, wanted = compiled.create_infer_request(), [port.get_any_name() for port in compiled.inputs]
    outputs = answers_among([name for port in compiled.outputs for name in port.get_names()])

    def call(inputs: Batch) -> np.ndarray:
        answers = asked.infer({name: inputs[name] for name in wanted})
        return as_logits([np.array(answers[name]) for name in outputs])

    return call


def answers_among(names: Sequence[str]) -> list[str]:
    """Which of a file's outputs are read: those that this toolkit's files have too, else the first, as of states to pool."""
    from compress.runtimes.runtime import OUTPUTS

    return list(next((outputs for outputs in OUTPUTS if set(outputs) <= set(names)), names[:1]))


def _sentence_transformers(request: dict[str, Any]) -> Call:
    """An embedder through sentence-transformers, from token ids to vectors, with one of its backends."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(request["threads"])
    how = request["how"]
    options: dict[str, Any] = {"file_name": how["file_name"]} if how["file_name"] else {}
    if how["backend"] == "onnx":
        import onnxruntime

        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = request["threads"]
        options |= {"provider": "CPUExecutionProvider", "session_options": session_options}
    elif how["backend"] == "openvino":
        options["ov_config"] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": request["threads"]}
    model = SentenceTransformer(request["path"], backend=how["backend"], device="cpu", model_kwargs=options)

    def call(inputs: Batch) -> np.ndarray:
        with torch.inference_mode():
            given = {name: torch.from_numpy(values) for name, values in inputs.items()}
            vectors = model(given)["sentence_embedding"]
        answer: np.ndarray = vectors.float().numpy()
        return answer

    return call


def _model2vec(request: dict[str, Any]) -> Call:
    """A static embedder in numpy as model2vec encodes, but for its tokenizer: all subjects are given token ids."""
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(request["path"])
    largest = len(model.tokens)

    def call(inputs: Batch) -> np.ndarray:
        rows = (inputs["input_ids"] % largest).tolist()
        model.tokenize = lambda sentences: rows
        return np.asarray(model.encode([""] * len(rows)), dtype=np.float32)

    return call


def _model2vec_of_texts(request: dict[str, Any]) -> Callable[[Sequence[str]], np.ndarray]:
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(request["path"])
    return lambda texts: np.asarray(model.encode(list(texts)), dtype=np.float32)


RUNTIMES: dict[str, Callable[[dict[str, Any]], Call]] = {
    "torch": _torch,
    "checkpoint": _checkpoint,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "sentence-transformers": _sentence_transformers,
    "model2vec": _model2vec,
}
TEXT_RUNTIMES = {"model2vec": _model2vec_of_texts}
"""What cuts texts into tokens of its own, and so answers texts."""

if __name__ == "__main__":
    serve()
