"""What the peers of benchmarks/tasks_and_peers.py make of a model, each in its own tool's words and in its own environment.

    python benchmarks/task_peers.py < REQUEST.json

Reads one JSON request on stdin, whose `make` names a function below, and answers in JSON on the last line: `versions`, and of
each file that was asked for its name, what runs it, where it lies and with which parameters it was made; or why it was not.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

Form = dict[str, Any]
TOLD_VERSIONS = ("transformers", "sentence-transformers", "optimum", "optimum-onnx", "optimum-intel", "nncf", "model2vec")
TOLD = 300
"""Letters of an error that a row tells."""


def our_files(request: dict[str, Any]) -> list[Form]:
    """The torch model itself, what its run exported, and what it exported not, exported now."""
    import compress as cp

    source, out, exported = request["model"], Path(request["out"]), request["exported"]

    @cache
    def opened() -> tuple[Any, Any]:
        return cp.load(source), cp.task(**request["task"])

    def torch() -> Form:
        return {"runtime": "checkpoint", "path": source, "files": [str(Path(source) / "model.safetensors")]}

    def target(name: str, runtime: str) -> Form:
        if name not in exported and not (out / name / "model.onnx").is_file():
            model, task = opened()
            cp.export(model, out / name, target=name, task=task, **request.get("options", {}).get(name, {}))
        file = Path(exported.get(name, out / name)) / "model.onnx"
        return {"runtime": runtime, "path": str(file), "files": _files_of(file), "parameters": {"target": name}}

    makers = {
        "torch": torch,
        "onnx": lambda: target("onnxruntime-cpu", "onnxruntime"),
        "onnx, int8": lambda: target("onnxruntime-cpu-int8", "onnxruntime"),
        "openvino": lambda: target("openvino-cpu", "openvino"),
        "openvino, int8": lambda: target("openvino-cpu-int8", "openvino"),
    }
    return _each(makers, request)


def distil_embedder(request: dict[str, Any]) -> list[Form]:
    """Cut layers out of a teacher and learn its vectors, as sentence-transformers' example of a reduction of layers does.

    Source: examples/sentence_transformer/training/distillation/model_distillation_layer_reduction.py of
    github.com/huggingface/sentence-transformers, 5.x. The best epoch is taken by the correlation on the selection part.
    Goes on after the last epoch that is there.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )
    from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator

    teacher, student = (SentenceTransformer(request["model"], device="cpu") for _ in range(2))
    for model in (teacher, student):
        model.max_seq_length = request["max_length"]
    bert = student[0].auto_model
    bert.encoder.layer = torch.nn.ModuleList(bert.encoder.layer[number] for number in request["layers"])
    bert.config.num_hidden_layers = len(request["layers"])
    texts, (first, second, scores) = request["texts"], request["selection"]
    data = Dataset.from_dict({"sentence": texts, "label": teacher.encode(texts, batch_size=128).tolist()})
    settings = {
        "num_train_epochs": request["epochs"],
        "per_device_train_batch_size": request["batch_size"],
        "learning_rate": request["learning_rate"],
        "warmup_ratio": 0.1,
        "seed": request["seed"],
    }
    trainer = SentenceTransformerTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            request["out"] + "-epochs",
            **settings,
            max_steps=request.get("max_steps", -1),
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="eval_selection_spearman_cosine",
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=data,
        loss=losses.MSELoss(student),
        evaluator=EmbeddingSimilarityEvaluator(first, second, scores, name="selection"),
    )
    trainer.train(resume_from_checkpoint=any(Path(request["out"] + "-epochs").glob("checkpoint-*")))
    student.save_pretrained(request["out"])
    return [{"name": "distilled", "path": request["out"], "parameters": settings | {"texts": len(texts)}}]


def embedder_files(request: dict[str, Any]) -> list[Form]:
    """Save an embedder for every backend of sentence-transformers, and quantize as its page on efficiency tells."""
    from sentence_transformers import (
        SentenceTransformer,
        export_dynamic_quantized_onnx_model,
        export_static_quantized_openvino_model,
    )

    source, out = request["model"], Path(request["out"])

    def backend(name: str, file: str) -> Form:
        return {"runtime": "sentence-transformers", "how": {"backend": name, "file_name": file}}

    def torch() -> Form:
        return {"path": source, "files": [str(Path(source) / "model.safetensors")], **backend("torch", "")}

    def onnx() -> Form:
        SentenceTransformer(source, backend="onnx", model_kwargs={"export": True}).save_pretrained(str(out / "onnx"))
        return _with_tool(
            "onnxruntime", out / "onnx" / "onnx" / "model.onnx", backend("onnx", "onnx/model.onnx"), out / "onnx"
        )

    def onnx_int8() -> Form:
        model = SentenceTransformer(str(out / "onnx"), backend="onnx", model_kwargs={"file_name": "onnx/model.onnx"})
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(out / "onnx"))
        file = "onnx/model_qint8_avx512_vnni.onnx"
        return _with_tool("onnxruntime", out / "onnx" / file, backend("onnx", file), out / "onnx") | {
            "parameters": {"export_dynamic_quantized_onnx_model": "avx512_vnni"}
        }

    def openvino() -> Form:
        SentenceTransformer(source, backend="openvino", model_kwargs={"export": True}).save_pretrained(str(out / "openvino"))
        file = "openvino/openvino_model.xml"
        return _with_tool("openvino", out / "openvino" / file, backend("openvino", file), out / "openvino")

    def openvino_int8() -> Form:
        folder, file = str(out / "openvino"), "openvino/openvino_model_qint8_quantized.xml"
        model = SentenceTransformer(folder, backend="openvino", model_kwargs={"file_name": "openvino/openvino_model.xml"})
        data = {
            "dataset_name": request["calibration"],
            "dataset_config_name": "default",
            "dataset_split": "train",
            "column_name": "sentence",
        }
        export_static_quantized_openvino_model(model, None, folder, **data)
        parameters = {"export_static_quantized_openvino_model": "OVQuantizationConfig()", "calibration": "the recipe's texts"}
        return _with_tool("openvino", Path(folder) / file, backend("openvino", file), Path(folder)) | {
            "parameters": parameters
        }

    makers = {
        "torch": torch,
        "onnx": onnx,
        "onnx, int8 dynamic (avx512_vnni)": onnx_int8,
        "openvino": openvino,
        "openvino, int8 static": openvino_int8,
    }
    return _each(makers, request)


def static_files(request: dict[str, Any]) -> list[Form]:
    """Distil a static embedder with model2vec: its defaults, and the same in bytes; and what its own exporter makes of it."""
    from model2vec.distill import distill
    from model2vec.onnx import export_model_to_onnx

    out, made, words = Path(request["out"]), dict[str, Any](), dict[str, int]()

    def static(quantize_to: str) -> Form:
        options = {"pca_dims": request["dimensions"], "quantize_to": quantize_to}
        made[quantize_to] = distill(request["model"], device="cpu", **options)
        words["vocabulary"] = len(made[quantize_to].tokens)
        made[quantize_to].save_pretrained(str(out / quantize_to))
        parameters = options | {"sif_coefficient": "its default, 1e-4"}
        own = {"runtime": "model2vec", "path": str(out / quantize_to), "parameters": parameters, **words}
        return own | {"files": [str(out / quantize_to / "model.safetensors")]}

    def onnx() -> Form:
        export_model_to_onnx(made["float16"], str(out / "onnx"))
        file = next((out / "onnx").rglob("*.onnx"))
        whole = {"runtime": "onnxruntime", "path": str(file), "files": _files_of(file)}
        return whole | {
            "answers": {"runtime": "model2vec", "path": str(out / "float16")},
            "parameters": {"of": "float16"},
            **words,
        }

    makers = {
        "numpy, float16 (defaults)": lambda: static("float16"),
        "numpy, int8": lambda: static("int8"),
        "onnx, float16": onnx,
    }
    return _each(makers, request)


def transformers_files(request: dict[str, Any]) -> list[Form]:
    """Export with transformers' own exporters: fused for onnxruntime's CPU provider, quantized, and for OpenVINO."""
    from peer_process import read_batches
    from transformers import exporters as they

    import compress as cp

    model, out = cp.load(request["model"]).eval(), Path(request["out"])
    texts = [_tensors(batch) for batch in read_batches(request["calibration"])]
    sample = _tensors(read_batches(request["sample"])[0])

    def exported(folder: str, exporter: Any, config: Any, parameters: dict[str, Any]) -> Form:
        exporter.export(model, sample, config).save_pretrained(out / folder)
        is_onnx = isinstance(exporter, they.OnnxExporter)
        file = out / folder / ("model.onnx" if is_onnx else "model.xml")
        if not file.is_file():
            file = next((out / folder).glob("*.xml"))
        runtime = "onnxruntime" if is_onnx else "openvino"
        return {"runtime": runtime, "path": str(file), "files": _files_of(file), "parameters": parameters}

    def onnx(folder: str, *, quantizer: Any = None, is_fused: bool = True, **parameters: Any) -> Form:
        config = they.OnnxConfig(dynamic=True, ort_fusions="cpu" if is_fused else None, quantizer=quantizer)
        return exported(
            folder, they.OnnxExporter(), config, {"dynamic": True, "ort_fusions": config.ort_fusions, **parameters}
        )

    def openvino(folder: str, quantizer: Any = None, **parameters: Any) -> Form:
        config = they.OpenVINOConfig(dynamic=True, quantizer=quantizer)
        return exported(folder, they.OpenVINOExporter(), config, {"dynamic": True, **parameters})

    def dynamic(*, is_fused: bool) -> Form:
        quantizer = they.OnnxRuntimeQuantizer(they.OnnxRuntimeDynamicConfig(per_channel=True))
        parameters = {"OnnxRuntimeDynamicConfig": {"per_channel": True}}
        return onnx(f"onnx-dynamic-{is_fused}", quantizer=quantizer, is_fused=is_fused, **parameters)

    def static(*, is_fused: bool) -> Form:
        quantizer = they.OnnxRuntimeQuantizer(they.OnnxRuntimeStaticConfig(per_channel=True), calibration_dataset=texts)
        parameters = {"OnnxRuntimeStaticConfig": {"per_channel": True}, "calibration": len(texts)}
        return onnx(f"onnx-static-{is_fused}", quantizer=quantizer, is_fused=is_fused, **parameters)

    def nncf() -> Form:
        config = they.NNCFQuantizationConfig(subset_size=len(texts))
        quantizer = they.NNCFOpenVINOQuantizer(config, calibration_dataset=texts)
        return openvino("openvino-int8", quantizer, NNCFQuantizationConfig={"subset_size": len(texts)})

    makers = {
        "onnx, fused for cpu": lambda: onnx("onnx"),
        "onnx, int8 dynamic": lambda: dynamic(is_fused=False),
        "onnx, fused for cpu, int8 dynamic": lambda: dynamic(is_fused=True),
        "onnx, int8 static": lambda: static(is_fused=False),
        "onnx, fused for cpu, int8 static": lambda: static(is_fused=True),
        "openvino": lambda: openvino("openvino"),
        "openvino, int8 (NNCF)": nncf,
    }
    return _each(makers, request)


def optimum_files(request: dict[str, Any]) -> list[Form]:
    """Export with optimum-onnx, and quantize dynamically with its preset for AVX-512 VNNI."""
    from optimum import onnxruntime as ort
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    out = request["out"]

    def onnx() -> Form:
        getattr(ort, f"ORTModelFor{request['head']}").from_pretrained(request["model"], export=True).save_pretrained(out)
        return {"runtime": "onnxruntime", "path": f"{out}/model.onnx", "files": _files_of(Path(out, "model.onnx"))}

    def int8() -> Form:
        preset = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        ort.ORTQuantizer.from_pretrained(out, file_name="model.onnx").quantize(save_dir=out, quantization_config=preset)
        file = Path(out, "model_quantized.onnx")
        parameters = {"avx512_vnni": {"is_static": False, "per_channel": True}}
        return {"runtime": "onnxruntime", "path": str(file), "files": _files_of(file), "parameters": parameters}

    return _each({"onnx": onnx, "onnx, int8 dynamic (avx512_vnni)": int8}, request)


def _each(makers: Mapping[str, Callable[[], Form]], request: dict[str, Any]) -> list[Form]:
    """Make every file; one that fails says why, and leaves the others."""
    forms: list[Form] = []
    for name, make in makers.items():
        if name not in (request.get("forms") or makers):
            continue
        try:
            forms.append({"name": name, **make()})
        except Exception as err:  # whatever a tool raises is what its row tells
            if request.get("debug"):
                raise
            first, *others = str(err).strip().splitlines() or [""]
            line = f"{first} {others[0].strip()}" if first.endswith(":") and others else first
            for key in ("out", "model"):  # where files lie is no one's business
                line = line.replace(request[key], key) if key in request else line
            forms.append({"name": name, "error": f"{type(err).__name__}: {line}"[:TOLD]})
    return forms


def _with_tool(runtime: str, file: Path, tool: Form, folder: Path) -> Form:
    """A file that a runtime opens by itself, and that its tool opens to pool what comes out."""
    tool = {**tool, "path": str(folder)}
    return {"runtime": runtime, "path": str(file), "files": _files_of(file), "answers": tool, "tool": tool}


def _files_of(file: Path) -> list[str]:
    """A file, and those beside it that hold its weights."""
    beside = (file.with_suffix(".bin"), file.with_name(file.name + ".data"), file.with_name(file.name + "_data"))
    return [str(path) for path in (file, *beside) if path.is_file()]


def _tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(values) for name, values in batch.items()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Do what stdin asks."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    forms = globals()[request["make"]](request)
    versions = {name: version for name in TOLD_VERSIONS if (version := _version(name))}
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        json.dump({"versions": versions, "forms": forms}, out)


if __name__ == "__main__":
    main()
