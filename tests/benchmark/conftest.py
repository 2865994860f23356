"""Small subjects to measure: a random BERT, hand-built ONNX files, and a task of a few sentences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from compress.tasks.split import Role, Split

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "very", "the", "plot"]
LONGEST = 40


SENTENCES = ("a good film", "a bad film", "the very good plot", "bad", "good", "the bad plot", "good plot", "a bad plot")


@pytest.fixture
def rows() -> Callable[..., Encoded]:
    """Make encoded examples from lists of token ids."""

    def make(ids: Sequence[Sequence[int]], labels: Sequence[int] | None = None) -> Encoded:
        known = np.zeros(len(ids), dtype=np.int64) if labels is None else np.array(labels)
        return Encoded([list(row) for row in ids], None, known, 0, 0, "evaluation")

    return make


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """Make a task with eight sentences in every part, the first good, the second bad, and so on."""

    def make(labels: Sequence[str] = ("bad", "good"), metric: str = "accuracy", role: Role = "evaluation") -> Task:
        truth = np.array([1, 0] * 4)
        others: tuple[Role, ...] = ("train", "selection", "calibration")
        parts = {name: Split(name, SENTENCES, None, truth) for name in others}
        return Task(
            name="films",
            kind="text-classification",
            labels=tuple(labels),
            max_length=LONGEST,
            metric=metric,
            source="written by hand",
            **parts,
            evaluation=Split(role, SENTENCES, None, truth),
        )

    return make


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    """Eight sentences, half of them good."""
    return make_task()


def write_tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)}, model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    return tokenizer


def word_graph(weights: Sequence[Sequence[float]], *, masked: bool = True) -> onnx.ModelProto:
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
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask")
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
    """Write a folder with a hand-built model.onnx, config.json and, if wanted, a tokenizer and bert_compress.json."""

    def write(
        name: str = "words",
        *,
        tokenizer: bool = False,
        facts: dict[str, Any] | None = None,
        masked: bool = True,
        swapped: bool = False,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(word_graph(word_weights(swapped=swapped), masked=masked), folder / "model.onnx")
        config = {"model_type": "bert", "vocab_size": len(WORDS), "max_position_embeddings": LONGEST}
        (folder / "config.json").write_text(json.dumps(config))
        if tokenizer:
            write_tokenizer(folder)
        if facts is not None:
            (folder / "bert_compress.json").write_text(json.dumps(facts))
        return folder

    return write


@pytest.fixture
def bert() -> Any:
    """A random BERT of two layers with its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=LONGEST,
        num_labels=2,
    )
    model = BertForSequenceClassification(config).eval()
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    model.tokenizer = BertTokenizerFast(vocab=vocabulary, model_max_length=LONGEST)
    model.label = "tiny"
    return model


@pytest.fixture
def torch_folder(bert: Any, tmp_path: Path) -> Path:
    """The random BERT, saved."""
    from compress.models.checkpoint import save

    return save(bert, tmp_path / "tiny_bert")
