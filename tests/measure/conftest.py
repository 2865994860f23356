"""Small subjects to measure: a random BERT, hand-built ONNX files, and a task of a few sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "very", "the", "plot"]
LONGEST = 40


@dataclass
class Rows:
    """Unpadded examples, as a task's `encode` gives them."""

    input_ids: list[list[int]]
    labels: np.ndarray
    truncated: int = 0
    pad_token_id: int = 0
    batches_asked: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.input_ids])

    def batch(self, indices: Sequence[int], pad_to: int | None = None) -> dict[str, np.ndarray]:
        self.batches_asked.append(list(indices))
        rows = [self.input_ids[index] for index in indices]
        width = pad_to or max(map(len, rows))
        ids = np.array([row + [self.pad_token_id] * (width - len(row)) for row in rows], dtype=np.int64)
        mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=np.int64)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@dataclass
class Sentences:
    """A split that says which role was asked of it."""

    texts: tuple[str, ...]
    labels: np.ndarray
    asked: list[str] = field(default_factory=list)

    def require(self, *roles: str) -> Sentences:
        self.asked += roles
        return self


@dataclass
class SmallTask:
    """A task with an evaluation part of `texts`."""

    evaluation: Sentences
    labels: tuple[str, ...] = ("bad", "good")

    def encode(self, split: Sentences, tokenizer: Any) -> Rows:
        return Rows([tokenizer(text)["input_ids"] for text in split.texts], split.labels)


@pytest.fixture
def rows() -> Callable[..., Rows]:
    """Make examples from lists of token ids."""
    return lambda ids, labels: Rows([list(one) for one in ids], np.array(labels))


@pytest.fixture
def task() -> SmallTask:
    """Eight sentences, half of them good."""
    texts = ("a good film", "a bad film", "the very good plot", "bad", "good", "the bad plot", "good plot", "a bad plot")
    return SmallTask(Sentences(texts, np.array([1, 0, 1, 0, 1, 0, 1, 0])))


def write_tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)}, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    return tokenizer


def word_graph(weights: Sequence[Sequence[float]], *, masked: bool = True, external: str | None = None) -> onnx.ModelProto:
    """logits = the mean over tokens of a row of `weights` (one row for each word), times the identity.

    Unmasked, padding counts as tokens, so that answers depend on it.
    """
    table = numpy_helper.from_array(np.array(weights, dtype=np.float32), "table")
    identity = numpy_helper.from_array(np.eye(table.dims[1], dtype=np.float32), "identity")
    axes = [numpy_helper.from_array(np.array([axis]), name) for axis, name in ((1, "tokens"), (2, "last"))]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counted", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["sums"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["sums", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "identity"], ["logits"]),
    ]
    if not masked:
        nodes[1] = helper.make_node("Cast", ["everything"], ["counted"], to=TensorProto.FLOAT)
        nodes.insert(1, helper.make_node("Equal", ["input_ids", "input_ids"], ["everything"]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", table.dims[1]])
    graph = helper.make_graph(nodes, "words", inputs, [output], [table, identity, *axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def word_weights(scale: float = 1.0, swapped: bool = False) -> np.ndarray:
    """`good` speaks for label 1, `bad` for label 0, padding weakly for label 0, every other word for nothing."""
    weights = np.zeros((len(WORDS), 2), dtype=np.float32)
    weights[WORDS.index("good"), 1] = scale
    weights[WORDS.index("bad"), 0] = scale
    weights[WORDS.index("[PAD]"), 0] = scale
    return weights[:, ::-1].copy() if swapped else weights


@pytest.fixture
def onnx_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder with a hand-built model.onnx, config.json and, if wanted, a tokenizer and export.json."""

    def write(
        name: str = "words", *, tokenizer: bool = False, facts: dict[str, Any] | None = None, masked: bool = True,
        swapped: bool = False,
    ) -> Path:  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(word_graph(word_weights(swapped=swapped), masked=masked), folder / "model.onnx")
        config = {"model_type": "bert", "vocab_size": len(WORDS), "max_position_embeddings": LONGEST}
        (folder / "config.json").write_text(json.dumps(config))
        if tokenizer:
            write_tokenizer(folder)
        if facts is not None:
            (folder / "export.json").write_text(json.dumps(facts))
        return folder

    return write


@pytest.fixture
def bert() -> Any:
    """A random BERT of two layers with its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=LONGEST, num_labels=2,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    model.tokenizer = BertTokenizerFast(vocab=vocabulary, model_max_length=LONGEST)
    model.label = "tiny"
    return model


@pytest.fixture
def torch_folder(bert: Any, tmp_path: Path) -> Path:
    """The random BERT, saved."""
    from compress.artifact import save

    return save(bert, tmp_path / "tiny_bert")
