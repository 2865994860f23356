"""Shipped folders that are made by hand, without torch: a table of numbers for each word, whose mean is what a text is given.

So every answer follows from the table: `mean_of` and `rows_of` say what a file gives to a text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from compress.runtimes.runtime import LOGITS, SPAN_LOGITS, VECTORS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "film", "plot", "was", "is", "good", "bad", "sad", "very", "and", "how", "it", "ada", "lovelace")
PIECES = (*SPECIAL, *WORDS)
LONGEST = 16
LABELS = {
    "text-classification": ("bad", "good"),
    "multi-label-classification": ("good", "sad", "long"),
    "regression": ("score",),
    "reranking": ("LABEL_0",),
    "token-classification": ("O", "B-per", "I-per"),
    "question-answering": (),
    "sentence-embedding": (),
    "masked-words": (),
}
TASKS = {"mood": ("bad", "good"), "spam": ("ham", "spam")}
"""Of a file that answers two, with each one's labels."""
WIDTHS = {"question-answering": 2, "sentence-embedding": 6, "masked-words": len(PIECES)}
OF_TOKENS = ("token-classification", "question-answering", "masked-words")
NAMED = {"sentence-embedding": (VECTORS,), "question-answering": SPAN_LOGITS}


def tokenizer() -> Tokenizer:
    """Whole words, with a token before a text and one behind it."""
    words = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    words.add_special_tokens(["[MASK]"])
    return words


def table_for(kind: str, seed: int = 5) -> np.ndarray:
    """The numbers of each piece, (pieces, outputs)."""
    width = WIDTHS.get(kind, len(LABELS[kind]))
    return np.random.default_rng(seed).normal(size=(len(PIECES), width)).astype(np.float32) * 2


def rows_of(kind: str, *texts: str) -> np.ndarray:
    """The numbers of each token of a text or a pair, (tokens, outputs)."""
    return table_for(kind)[tokenizer().encode(*texts).ids]


def mean_of(kind: str, *texts: str) -> np.ndarray:
    """What a file gives to a text or a pair as a whole, (outputs,)."""
    return np.asarray(rows_of(kind, *texts).mean(axis=0))


def make_folder(path: Path, kind: str, *, target: str = "onnxruntime-cpu", config: Any = None, **facts: Any) -> Path:
    """Write a folder as an export leaves it.

    Args:
        path: Is made.
        kind: Of the task.
        target: What it says that it was exported for.
        config: More of config.json.
        facts: More of bert_compress.json, or other values.
    """
    path.mkdir(parents=True)
    onnx.save(_model(kind), path / "model.onnx")
    tokenizer().save(str(path / "tokenizer.json"))
    stated = {
        "schema": 1,
        "target": target,
        "kind": kind,
        "labels": LABELS[kind],
        "max_length": LONGEST,
        "settled": [],
        **facts,
    }
    (path / "bert_compress.json").write_text(json.dumps(stated), encoding="utf-8")
    (path / "config.json").write_text(json.dumps({"pad_token_id": 0, **(config or {})}), encoding="utf-8")
    return path


def make_folder_of_tasks(path: Path) -> Path:
    """Write a folder whose file answers the tasks of TASKS, each by the table of its place as a seed."""
    make_folder(path, "text-classification", tasks=[{"name": name, "labels": names} for name, names in TASKS.items()])
    model = _model("text-classification")
    tables = np.stack([table_for("text-classification", seed) for seed in range(len(TASKS))])
    model.graph.initializer.remove(next(each for each in model.graph.initializer if each.name == "table"))
    model.graph.initializer.extend([numpy_helper.from_array(tables, "tables"), numpy_helper.from_array(np.array(0), "task")])
    model.graph.input.append(helper.make_tensor_value_info("task", TensorProto.INT64, []))
    model.graph.node.insert(0, helper.make_node("Gather", ["tables", "task"], ["table"]))
    onnx.save(model, path / "model.onnx")
    return path


def _model(kind: str) -> onnx.ModelProto:
    table = table_for(kind)
    names = NAMED.get(kind, (LOGITS,))
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    constants = [numpy_helper.from_array(table, "table")]
    if kind not in OF_TOKENS:
        constants += [numpy_helper.from_array(np.array([axis], dtype=np.int64), f"axis{axis}") for axis in (1, 2)]
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["counted"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["counted", "axis2"], ["mask"]),
            helper.make_node("Mul", ["rows", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis1"], ["sums"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "axis1"], ["counts"], keepdims=0),
            helper.make_node("Div", ["sums", "counts"], [names[0]]),
        ]
    elif len(names) == 1:
        nodes.append(helper.make_node("Identity", ["rows"], [names[0]]))
    else:
        for column, name in enumerate(names):
            constants.append(numpy_helper.from_array(np.array(column, dtype=np.int64), f"column{column}"))
            nodes.append(helper.make_node("Gather", ["rows", f"column{column}"], [name], axis=2))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")[: 1 if kind in OF_TOKENS else 2]
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes, "table", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
