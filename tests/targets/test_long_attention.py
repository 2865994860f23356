"""Files for long inputs answer as torch does at every length, a multiple of the window or not, padded and not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.methods.swap_attention import swap_attention
from compress.targets.exporting import export
from compress.targets.onnx.graph import in_onnxruntime
from compress.targets.openvino_cpu import in_openvino
from tests.tiers import mostly_matrix
from tests.tiny_models import logits_of, tiny_bert, tokens, toy_task

pytestmark = pytest.mark.slow
KINDS: dict[str, dict[str, Any]] = {
    "longformer": {"kind": "longformer", "window": 24},
    "wide": {"kind": "longformer", "window": 96},
    "two global": {"kind": "longformer", "window": 8, "global_tokens": 2},
    "reformer": {"kind": "reformer", "chunk": 10, "buckets": 4},
    "transformer_xl": {"kind": "transformer_xl", "segment": 12},
    "chunk_and_pool": {"kind": "chunk_and_pool", "segment": 10},
}
LENGTHS = ((1,), (8, 8), (24, 5), (33, 9, 2), (96, 61))


def swapped(name: str) -> Any:
    return swap_attention(tiny_bert(), task=toy_task(max_length=96), max_length=96, **KINDS[name])


@pytest.mark.floors
@pytest.mark.parametrize("name", mostly_matrix(KINDS, always=["longformer"]))
def test_the_float_file_answers_as_torch_at_every_length(name: str, tmp_path: Path) -> None:
    student = swapped(name)
    file = export(student, tmp_path / "out", target="openvino-cpu", task=toy_task(), precision="float32").path / "model.onnx"
    for opened in (in_onnxruntime(file), in_openvino(file, "float32")):
        for lengths in LENGTHS:
            batch = tokens(lengths=lengths)
            logits = opened.run({key: values.numpy() for key, values in batch.items()})
            np.testing.assert_allclose(logits, logits_of(student, **batch).numpy(), atol=1e-4)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", mostly_matrix(["longformer", "transformer_xl"], always=["longformer"]))
@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("onnxruntime-cpu-int8", {}),
        ("onnxruntime-cpu-int8", {"activations": "static"}),
        ("openvino-cpu-int8", {}),
    ],
)
def test_projections_and_feed_forward_parts_run_on_integers(target: str, options: Any, kind: str, tmp_path: Path) -> None:
    shipped = export(swapped(kind), tmp_path / "out", target=target, task=toy_task(), **options)
    assert all(stage.accepted for stage in shipped.stages)
    # six of each layer and the pooler, at least: a first token has projections of its own
    assert shipped.stages[-1].integer_ops >= 13


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["longformer", "transformer_xl"])
def test_no_node_scatters_or_strides(kind: str, tmp_path: Path) -> None:
    shipped = export(swapped(kind), tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    operators = {node.op_type for node in onnx.load(shipped.path / "model.onnx").graph.node}
    assert not operators & {"ScatterND", "ScatterElements", "NonZero", "Loop", "If"}
