"""A file asks for no newer a runtime than its operators need, and means the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compress.models.bilstm import BilstmConfig, BilstmForSequenceClassification
from compress.models.families import WITHOUT_ENCODER
from compress.models.static import StaticConfig, StaticForSequenceClassification
from compress.runtimes.onnxruntime import running_graph
from compress.targets import TARGETS
from compress.targets.exporting import export
from compress.targets.onnx.versions import WITHOUT_EFFECT, lowest_ir_version, lowest_opset, save_for_old_runtimes, versions_of
from tests.targets.graphs import deployed_answers
from tests.targets.quantized import wide_bert
from tests.tiny_models import LONGEST, PIECES, tiny_of, tiny_tokenizer, tokens, toy_task

LOOSE = {"max_relative_error": 10.0, "max_flips": 1.0}  # a random model's answers are near ties
NEEDED = {"bert": 20, "distilbert": 20, "albert": 17, "mobilebert": 15, "bilstm": 18, "static": 13}
"""Gelu came with 20, ReduceMax with axes as an input with 18, LayerNormalization with 17, a Shape of a part with 15."""


def model_of(kind: str) -> Any:
    """A tiny model of a family, those without an encoder too."""
    if kind not in WITHOUT_ENCODER:
        return wide_bert() if kind == "bert" else tiny_of(kind)
    sizes = {"vocab_size": len(PIECES), "embedding_size": 8, "max_position_embeddings": LONGEST}
    model: Any = (
        BilstmForSequenceClassification(BilstmConfig(**sizes, lstm_size=6, head_size=8))
        if kind == "bilstm"
        else StaticForSequenceClassification(StaticConfig(**sizes, bigram_buckets=31, bigram_size=4, head_size=8))
    )
    model.tokenizer, model.label, model.has_new_head = tiny_tokenizer(), kind, False
    return model.eval()


def graph_of(*nodes: ir.Node, opset: int = 20, inputs: tuple[ir.Value, ...] = ()) -> ir.Model:
    graph = ir.Graph(inputs, [], nodes=nodes, opset_imports={"": opset})
    return ir.Model(graph, ir_version=10)


def value(name: str, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([2, 3]))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (lambda x, n: ir.node("Gelu", [x]), 20),
        (lambda x, n: ir.node("LayerNormalization", [x, x]), 17),
        (lambda x, n: ir.node("Shape", [x], attributes={"start": 0, "end": 1}), 15),
        (lambda x, n: ir.node("Shape", [x], attributes={"start": 0}), 13),
        (lambda x, n: ir.node("Shape", [x]), 13),
        (lambda x, n: ir.node("Reshape", [x, n], attributes={"allowzero": 1}), 14),
        (lambda x, n: ir.node("Reshape", [x, n], attributes={"allowzero": 0}), 13),
        (lambda x, n: ir.node("Cast", [x], attributes={"to": ir.DataType.INT64}), 13),
        (lambda x, n: ir.node("Cast", [x], attributes={"to": ir.DataType.INT64, "saturate": 0}), 19),
        (lambda x, n: ir.node("Pad", [x, n]), 13),
        (lambda x, n: ir.node("Pad", [x, n, x, n]), 18),  # the axes
        (lambda x, n: ir.node("ReduceMax", [x, n]), 18),  # were an attribute
        (lambda x, n: ir.node("ReduceMax", [x]), 18),  # and an attribute that was left out meant all of them
        (lambda x, n: ir.node("Softmax", [x], attributes={"axis": -1}), 13),  # and before, it flattened what it read
        (lambda x, n: ir.node("Split", [x], attributes={"num_outputs": 2}, num_outputs=2), 18),
        (lambda x, n: ir.node("MatMul", [x, x]), 13),
    ],
)
def test_the_lowest_opset_is_that_which_the_operator_needs(node: Any, expected: int) -> None:
    x, n = value("x"), value("n", ir.DataType.INT64)
    assert lowest_opset(graph_of(node(x, n), inputs=(x, n))) == expected


def test_the_newest_operator_decides() -> None:
    x = value("x")
    assert lowest_opset(graph_of(ir.node("MatMul", [x, x]), ir.node("LayerNormalization", [x, x]), inputs=(x,))) == 17


def test_a_type_that_an_older_operator_did_not_know_keeps_the_newer_one() -> None:
    for dtype, expected in ((ir.DataType.FLOAT, 13), (ir.DataType.BFLOAT16, 16)):
        x, yes = value("x", dtype), value("yes", ir.DataType.BOOL)
        assert lowest_opset(graph_of(ir.node("Where", [yes, x, x]), inputs=(x, yes))) == expected


def test_an_opset_is_never_raised() -> None:
    x = value("x")
    assert lowest_opset(graph_of(ir.node("MatMul", [x, x]), opset=11, inputs=(x,))) == 11


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (ir.DataType.FLOAT, 8),
        (ir.DataType.INT8, 8),
        (ir.DataType.FLOAT16, 8),
        (ir.DataType.FLOAT8E4M3FN, 9),
        (ir.DataType.INT4, 10),
        (ir.DataType.UINT4, 10),
        (ir.DataType.FLOAT4E2M1, 11),
    ],
)
def test_numbers_of_a_newer_type_need_a_newer_format(dtype: ir.DataType, expected: int) -> None:
    assert lowest_ir_version(graph_of(inputs=(value("x", dtype),))) == expected


def test_attributes_without_effect_are_so_by_their_own_default() -> None:
    """What the newer operator takes for an attribute that is left out is what this table says does nothing."""
    for (operator, name), neutral in WITHOUT_EFFECT.items():
        attribute = onnx.defs.get_schema(operator, 20, "").attributes[name]
        default = onnx.helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
        assert (default.decode() if isinstance(default, bytes) else default) == neutral, (operator, name)


def test_a_saved_file_imports_no_domain_that_it_does_not_use_and_has_no_notes_on_nodes(tmp_path: Path) -> None:
    x = value("x")
    node = ir.node("Relu", [x])
    node.metadata_props["note"] = "of the exporter"
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", x.type, x.shape
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 20, "com.microsoft": 1}), ir_version=10)
    model.metadata_props["weight_bits"] = "7"
    save_for_old_runtimes(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert versions_of(tmp_path / "model.onnx") == (8, 13)
    assert [domain.domain for domain in proto.opset_import] == [""]
    assert not proto.graph.node[0].metadata_props
    assert [(note.key, note.value) for note in proto.metadata_props] == [("weight_bits", "7")]


def _checked(path: Path, opset: int) -> None:
    proto = onnx.load(path)
    assert versions_of(path) == (8, opset)
    assert not [node.name for node in proto.graph.node if node.metadata_props]
    if {node.domain for node in proto.graph.node} == {""}:
        onnx.checker.check_model(proto, full_check=True)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_writes_the_lowest(target: str, tmp_path: Path) -> None:
    limits = {} if target in ("onnxruntime-cpu", "openvino-cpu") else LOOSE
    shipped = export(wide_bert(), tmp_path / "out", target=target, task=toy_task(), **limits)
    _checked(shipped.path / "model.onnx", 20)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("target", ["onnxruntime-cpu", "onnxruntime-cpu-int8"])
@pytest.mark.parametrize("kind", [kind for kind in NEEDED if kind != "bert"])
def test_a_family_without_new_operators_asks_for_an_older_opset_and_runs_alike(kind: str, target: str, tmp_path: Path) -> None:
    """Relabelled as the exporter wrote it, the file answers bit for bit the same, and onnxruntime runs the same operators."""
    limits = LOOSE if target.endswith("int8") else {}
    path = export(model_of(kind), tmp_path / "out", target=target, task=toy_task(), **limits).path / "model.onnx"
    _checked(path, NEEDED[kind])
    proto, newer = onnx.load(path), tmp_path / "newer.onnx"
    next(domain for domain in proto.opset_import if domain.domain == "").version = 20
    proto.ir_version = 10
    onnx.save(proto, newer)
    batch = {name: values.numpy() for name, values in tokens().items()}
    np.testing.assert_array_equal(deployed_answers(path, batch), deployed_answers(newer, batch))
    operators = [Counter((node.domain, node.op_type) for node in running_graph(file).node) for file in (path, newer)]
    assert operators[0] == operators[1]
