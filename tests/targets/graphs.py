"""ONNX files built by hand from a model's own weights: what its classifier says of the embeddings alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from compress.targets.onnx.lowering import SCOPES
from tests.tiny_models import tiny_bert

NAMES = ("input_ids", "attention_mask", "token_type_ids")


class BagOfWords(nn.Module):
    """A model that can be written as a graph by hand: the sum of a row per word (padding left out), times a matrix."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        like: Any = tiny_bert()
        self.config, self.tokenizer = like.config, like.tokenizer
        random = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(17, 6, generator=random))
        self.matrix = nn.Parameter(torch.randn(6, 2, generator=random))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: torch.Tensor) -> SequenceClassifierOutput:
        words = self.table[input_ids] * attention_mask[..., None]
        return SequenceClassifierOutput(logits=words.sum(1) @ self.matrix)


def write_bag_of_words(
    path: Path,
    table: torch.Tensor,
    matrix: torch.Tensor,
    *,
    masked: bool = True,
    inputs: tuple[str, ...] = NAMES[:2],
    padding: float | None = None,
) -> Path:
    """Write the same model as a graph.

    Args:
        path: Of the file.
        table: A row per word.
        matrix: (width, labels).
        masked: Whether padding is left out.
        inputs: Names of the file's inputs; those that the graph does not read are declared and ignored.
        padding: Added to every logit.
    """
    tensors = [
        numpy_helper.from_array(table.detach().numpy(), "table"),
        numpy_helper.from_array(matrix.detach().numpy(), "matrix"),
        numpy_helper.from_array(np.array([1]), "tokens"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([padding or 0.0], dtype=np.float32), "shift"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counted", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept" if masked else "words", "tokens"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "matrix"], ["plain"]),  # as the exporter writes a classifier, see below
        helper.make_node("Add", ["plain", "shift"], ["logits"]),
    ]
    nodes[5].metadata_props.add(key=SCOPES, value="['', 'model', 'model.classifier', 'linear']")
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "bag", given, [output], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def deployed_answers(path: Path, batch: dict[str, np.ndarray]) -> np.ndarray:
    """What onnxruntime alone makes of a batch."""
    import onnxruntime

    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {value.name for value in runner.get_inputs()}
    answer: np.ndarray = runner.run(["logits"], {name: values for name, values in batch.items() if name in wanted})[0]
    return answer


def plain_answers(model: PreTrainedModel, batch: dict[str, np.ndarray]) -> np.ndarray:
    """What the torch model makes of it."""
    with torch.no_grad():
        answer: np.ndarray = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
    return answer
