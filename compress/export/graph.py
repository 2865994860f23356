"""From a torch model to a raw ONNX graph, and what an ONNX file holds."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.bert.attention import attention_kernel
from compress.bert.first_token import first_token_only
from compress.errors import CompressError
from compress.log import libraries_silenced

FILE = "model.onnx"
INTEGER_OPS = frozenset({
    "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "QAttention",
    "QEmbedLayerNormalization", "ConvInteger", "QLinearConv",
})  # fmt: skip
FUSED_OPS = frozenset({
    "Attention", "MultiHeadAttention", "QAttention", "SkipLayerNormalization", "EmbedLayerNormalization",
    "QEmbedLayerNormalization", "BiasGelu", "FastGelu", "FusedMatMul", "FusedGemm", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "LayerNormalization", "Gelu",
})  # fmt: skip
ORT_QUIET = 4


class _Logits(nn.Module):
    """The model with named inputs and the logits as its only output."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> Any:
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).logits


def input_names(model: PreTrainedModel) -> list[str]:
    """The inputs of the exported file, in order."""
    return ["input_ids", "attention_mask", "token_type_ids"]


def write_graph(model: PreTrainedModel, path: Path) -> None:
    """Export the model with torch's dynamo exporter from eager attention, with free batch size and length.

    The last layer computes its first token only where the head reads no other.

    Raises:
        CompressError: The exporter failed.
    """
    names = input_names(model)
    example = {name: torch.ones((2, 8), dtype=torch.long) for name in names}
    example["attention_mask"][1, 5:] = 0
    example["token_type_ids"] = torch.zeros((2, 8), dtype=torch.long)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.config.max_position_embeddings)}
    try:
        with (
            libraries_silenced(),
            contextlib.redirect_stdout(io.StringIO()),
            attention_kernel(model, "eager"),
            first_token_only(model),
        ):
            torch.onnx.export(
                _Logits(model).eval(),
                tuple(example[name] for name in names),
                str(path),
                dynamo=True,
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=tuple(free for _ in names),
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as err:
        lines = str(err).strip().splitlines() or [type(err).__name__]
        raise CompressError(f"the model could not be exported to ONNX: {lines[-1]}. See --debug for the whole error.") from err


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU, quietly; 0 threads means as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ORT_QUIET
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def running_operators(path: Path) -> Counter[str]:
    """Count the operators that onnxruntime really runs on the CPU: after its own fusions, by name."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ORT_QUIET
        options.optimized_model_filepath = str(Path(folder) / FILE)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
        return Counter(node.op_type for node in graph.node)


def note_in_file(path: Path, facts: dict[str, str]) -> None:
    """Write facts into the ONNX file's metadata, for whoever finds the file alone."""
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, facts)
    onnx.save(proto, path)
