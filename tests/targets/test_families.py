"""Every family ships to every target: the file says what the model says, and the integers are integers."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import compress as cp
from compress.benchmark.counts import onnx_macs, torch_macs
from compress.models.families import KNOWN
from compress.targets.exporting import export
from compress.targets.onnx.graph import in_onnxruntime
from compress.training.step_context import StepContext
from tests.tiers import mostly_matrix
from tests.tiny_models import ALIKE, STRUCTURES, logits_of, tiny_of, tokens, toy_task

pytestmark = pytest.mark.slow
OTHERS = [kind for kind in STRUCTURES if kind != "bert"]  # which every other test here ships
WIDE: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "intermediate_size": 64},
    "distilbert": {"dim": 32, "hidden_dim": 64},
    "mobilebert": {"hidden_size": 32, "intermediate_size": 64, "intra_bottleneck_size": 16, "embedding_size": 16},
    "albert": {"hidden_size": 32, "intermediate_size": 64, "embedding_size": 16},
    "modernbert": {"hidden_size": 32, "intermediate_size": 64},
}
WIDE |= dict.fromkeys(("roberta", "mpnet", "deberta-v2", "ernie", "megatron-bert", "nomic_bert", "eurobert"), WIDE["bert"])
WIDE["electra"] = {**WIDE["bert"], "embedding_size": 16}
WIDE |= {kind: WIDE[like] for kind, like in ALIKE.items()}
"""Wide enough for eight bits to mean something."""
TARGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic": ("onnxruntime-cpu-int8", {}),
    "static": ("onnxruntime-cpu-int8", {"activations": "static"}),
    "openvino": ("openvino-cpu-int8", {}),
    "tensorrt": ("tensorrt-int8", {}),
}
PRODUCTS = {"bert": 13, "distilbert": 13, "mobilebert": 1 + 2 * 11 + 1, "albert": 1 + 12 + 1, "modernbert": 15}
PRODUCTS |= {
    "roberta": 13,
    "electra": 14,
    "mpnet": 13,
    "deberta-v2": 13,
    "ernie": 13,
    "megatron-bert": 13,
    "nomic_bert": 15,
    "eurobert": 15,
}
"""Linears of two layers and what stands before and behind them, the classifier left out: BERT six a layer and the pooler."""


@pytest.mark.floors
@pytest.mark.parametrize("kind", mostly_matrix(OTHERS, always=["distilbert", "modernbert"]))
def test_the_float_file_answers_as_torch_at_every_size(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind, **WIDE[kind])
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    file = shipped.path / "model.onnx"
    assert [value.name for value in onnx.load(file).graph.input] == KNOWN[kind].inputs
    opened = in_onnxruntime(file)
    for lengths in ((1,), (24,), (5, 5, 5), (9, 4, 1, 7)):
        batch = tokens(lengths=lengths)
        logits = opened.run({name: values.numpy() for name, values in batch.items()})
        np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-4)


@pytest.mark.parametrize(("kind", "form"), mostly_matrix(product(OTHERS, TARGETS), always=[("modernbert", "dynamic")]))
def test_integer_files_keep_parity_and_count_their_products(kind: str, form: str, tmp_path: Path) -> None:
    target, options = TARGETS[form]
    model = tiny_of(kind, **WIDE[kind], initializer_range=0.15)
    shipped = export(model, tmp_path / "out", target=target, task=toy_task(), **options)
    assert all(stage.accepted for stage in shipped.stages)
    assert shipped.stages[-1].integer_ops == PRODUCTS[kind]


@pytest.mark.parametrize("kind", mostly_matrix(OTHERS, always=["albert"]))
def test_a_model_that_learned_its_ranges_ships_with_them(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind, **WIDE[kind], initializer_range=0.15)
    tuned = cp.quantize_aware(
        model, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu")
    )
    again = cp.load(cp.save(tuned, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(tuned))
    loose = {"max_relative_error": 1.0, "max_flips": 0.5}  # where 7 bits are exported of the 8 that were learned
    shipped = export(again, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), **loose)
    assert all(stage.accepted for stage in shipped.stages)
    assert shipped.stages[-1].integer_ops == PRODUCTS[kind]


@pytest.mark.matrix
def test_the_weights_of_a_shared_layer_are_written_once(tmp_path: Path) -> None:
    """Four runs of one layer are as many bytes as two, but for the operators."""
    sizes = []
    for layers in (2, 4):
        model = tiny_of("albert", layers=layers, **WIDE["albert"], initializer_range=0.05)
        for target, options in (("onnxruntime-cpu", {}), ("onnxruntime-cpu-int8", {})):
            shipped = export(model, tmp_path / f"{target}{layers}", target=target, task=toy_task(), **options)
            graph = onnx.load(shipped.path / "model.onnx").graph
            sizes.append(sum(np.prod(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 2))
    assert sizes[:2] == sizes[2:]


@pytest.mark.parametrize("kind", mostly_matrix(["mobilebert", "albert", "modernbert"], always=["modernbert"]))
def test_the_products_of_torch_and_file_are_counted_alike(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    assert onnx_macs(shipped.path / "model.onnx", 10) == torch_macs(model, 10)
    assert torch.isfinite(logits_of(model)).all()
