"""ONNX files as strangers might give them: endless ones, broken ones, ones that answer nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ("input_ids", "attention_mask")


def constant(name: str, values: Any, kind: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=kind), name)


def save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    kind: int = TensorProto.FLOAT,
    others: Sequence[onnx.ValueInfoProto] = (),
    domain: str = "",
) -> Path:
    """From input_ids and attention_mask to logits; `ids` are the ids as floats, `sums` their sums, (batch, 1), `pair` a row of
    two zeros."""
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in NAMES]
    first = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ids", "tokens"], ["sums"], keepdims=1),
    ]
    outputs = [helper.make_tensor_value_info("logits", kind, None), *others]
    graph = helper.make_graph(
        [*first, *nodes],
        "foreign",
        given,
        outputs,
        [constant("tokens", [1], np.int64), constant("pair", [[0, 0]]), *constants],
    )
    domains = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
    return path


def sums(path: Path) -> Path:
    """Two equal logits: the sum of the ids."""
    return save_graph(path, [helper.make_node("Add", ["sums", "pair"], ["logits"])])


def endless(path: Path, *, times: int = 2**62) -> Path:
    """A loop that adds 1 to the sums so many times."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["total", "one"], ["more"])],
        "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("total", TensorProto.FLOAT, None)],
        [value("go_on", TensorProto.BOOL, []), value("more", TensorProto.FLOAT, None)],
        [constant("one", 1)],
    )
    nodes = [
        helper.make_node("Loop", ["times", "true", "sums"], ["last"], body=body),
        helper.make_node("Add", ["last", "pair"], ["logits"]),
    ]
    return save_graph(path, nodes, [constant("times", times, np.int64), constant("true", True, np.bool_)])


def endless_to_open(path: Path, *, size: int = 8192, products: int = 200) -> Path:
    """Products of large constants, which a runtime computes when it opens the file."""
    nodes = [helper.make_node("ConstantOfShape", ["large"], ["x0"], value=constant("value", [1e-4]))]
    nodes += [helper.make_node("MatMul", [f"x{number}", f"x{number}"], [f"x{number + 1}"]) for number in range(products)]
    nodes += [
        helper.make_node("ReduceMax", [f"x{products}"], ["most"], keepdims=0),
        helper.make_node("Add", ["sums", "pair"], ["both"]),
        helper.make_node("Add", ["both", "most"], ["logits"]),
    ]
    return save_graph(path, nodes, [constant("large", [size, size], np.int64)])


def greedy(path: Path, *, numbers: int = 2**44) -> Path:
    """Asks for so many numbers of memory."""
    nodes = [
        helper.make_node("Shape", ["sums"], ["shape"]),
        helper.make_node("Mul", ["shape", "numbers"], ["large"]),
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0),
        helper.make_node("Add", ["pair", "most"], ["logits"]),
    ]
    return save_graph(path, nodes, [constant("numbers", [numbers, 1], np.int64)])


def nonsense(path: Path, kind: str) -> Path:
    """Logits of a kind that no classifier gives."""
    add, node = helper.make_node("Add", ["sums", "pair"], ["both"]), helper.make_node
    graphs: dict[str, Any] = {
        "nan": (
            [
                node("Sub", ["pair", "one"], ["minus"]),
                node("Sqrt", ["minus"], ["broken"]),
                add,
                node("Add", ["both", "broken"], ["logits"]),
            ],
            [constant("one", 1)],
        ),
        "infinite": ([add, node("Div", ["both", "pair"], ["logits"])], []),
        "one row": ([node("ReduceMax", ["sums"], ["most"], keepdims=0), node("Add", ["pair", "most"], ["logits"])], []),
        "one dimension": ([node("Squeeze", ["sums", "tokens"], ["logits"])], []),
        "three dimensions": ([add, node("Unsqueeze", ["both", "tokens"], ["logits"])], []),
        "no columns": (
            [add, node("Slice", ["both", "zero", "zero", "tokens"], ["logits"])],
            [constant("zero", [0], np.int64)],
        ),
        "one column": ([node("Identity", ["sums"], ["logits"])], []),
        "three columns": ([node("Concat", ["sums", "sums", "sums"], ["logits"], axis=1)], []),
        "each token": ([node("Identity", ["ids"], ["logits"])], []),
        "integers": ([node("Identity", ["input_ids"], ["logits"])], [], TensorProto.INT64),
        "half": ([add, node("Cast", ["both"], ["logits"], to=TensorProto.FLOAT16)], [], TensorProto.FLOAT16),
        "double": ([add, node("Cast", ["both"], ["logits"], to=TensorProto.DOUBLE)], [], TensorProto.DOUBLE),
    }
    nodes, constants, *types = graphs[kind]
    return save_graph(path, nodes, constants, **({"kind": types[0]} if types else {}))


def sequence(path: Path) -> Path:
    """Logits that are a sequence of tensors."""
    sums(path)
    stored = onnx.load(path)
    stored.graph.node[-1].output[0] = "both"
    stored.graph.node.append(helper.make_node("SequenceConstruct", ["both"], ["logits"]))
    output = helper.make_tensor_sequence_value_info("logits", TensorProto.FLOAT, None)
    stored.graph.output[0].CopyFrom(output)
    onnx.save(stored, path)
    return path


def unknown_operator(path: Path) -> Path:
    """An operator of a domain that no runtime knows."""
    return save_graph(path, [helper.make_node("Foo", ["sums"], ["logits"], domain="com.acme")], domain="com.acme")


def few_positions(path: Path, *, words: int = 12, positions: int = 8) -> Path:
    """Looks words and positions up in tables of so many rows."""
    nodes = [
        helper.make_node("Gather", ["word_table", "input_ids"], ["words"]),
        helper.make_node("Shape", ["input_ids"], ["length"], start=1),
        helper.make_node("Squeeze", ["length"], ["count"]),
        helper.make_node("Range", ["zero", "count", "one"], ["order"]),
        helper.make_node("Gather", ["position_table", "order"], ["places"]),
        helper.make_node("Add", ["words", "places"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "tokens"], ["logits"], keepdims=0),
    ]
    tables = [constant("word_table", np.ones((words, 2))), constant("position_table", np.ones((positions, 2)))]
    return save_graph(path, nodes, [*tables, constant("zero", 0, np.int64), constant("one", 1, np.int64)])


def with_external_data(path: Path, location: str) -> Path:
    """A file whose weights are said to lie somewhere."""
    sums(path)
    stored = onnx.load(path)
    weight = onnx.TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    stored.graph.node[-1].output[0] = "both"
    stored.graph.node.append(helper.make_node("Add", ["both", "more"], ["logits"]))
    stored.graph.initializer.append(weight)
    onnx.save(stored, path)
    return path
