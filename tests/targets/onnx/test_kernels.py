"""Graphs that are changed for onnxruntime's kernels answer as before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import compress as cp
from compress.targets.onnx.graph import write_graph
from compress.targets.onnx.kernels import for_onnxruntime, rotations_as_nodes
from compress.targets.onnx.versions import save_for_old_runtimes
from tests.tiny_models import tiny_of, tokens, toy_task

ROTARY = ("modernbert", "eurobert", "nomic_bert")


def answers_of(path: Path) -> np.ndarray:
    """What a file answers to a batch with padding."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = tokens()
    answer: np.ndarray = session.run(["logits"], {node.name: given[node.name].numpy() for node in session.get_inputs()})[0]
    return answer


@pytest.mark.parametrize("kind", ROTARY)
def test_positions_are_turned_by_one_kernel_and_the_answers_stay(kind: str, tmp_path: Path) -> None:
    write_graph(tiny_of(kind), tmp_path / "raw.onnx")
    graph = ir.load(tmp_path / "raw.onnx")
    for_onnxruntime(graph)
    save_for_old_runtimes(graph, tmp_path / "model.onnx")
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node)
    assert kinds["RotaryEmbedding"] == 2 * 2
    assert kinds["Neg"] == 0
    np.testing.assert_allclose(answers_of(tmp_path / "model.onnx"), answers_of(tmp_path / "raw.onnx"), atol=1e-6)


def test_a_graph_without_rotary_positions_stays(tmp_path: Path) -> None:
    write_graph(tiny_of("bert"), tmp_path / "raw.onnx")
    assert rotations_as_nodes(ir.load(tmp_path / "raw.onnx")) == 0


@pytest.mark.parametrize(("kind", "behind_norms"), [("modernbert", 1), ("bert", 4)])
def test_factors_of_inputs_go_into_a_norm_that_nothing_else_reads(kind: str, behind_norms: int, tmp_path: Path) -> None:
    """ModernBERT's norms are read by products alone, but for that of the embeddings; BERT's by the residual sums, too."""
    loose: dict[str, Any] = {"max_flips": 1.0, "max_relative_error": 1.0, "activations": "static", "smooth": 0.5}
    shipped = cp.export(tiny_of(kind), tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), **loose)
    assert shipped.stages[-1].accepted
    nodes = onnx.load(shipped.path / "model.onnx").graph.node
    norms = {node.output[0] for node in nodes if node.op_type == "LayerNormalization"}
    scaled = [node for node in nodes if node.op_type == "Mul" and norms & set(node.input) and "factors" in node.input[1]]
    assert len(scaled) == behind_norms
