"""Texts leave one ONNX file early: it answers as the model does, however many texts it reads at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.counts import onnx_counts
from compress.errors import InputError
from compress.facts import read_facts
from compress.models.exits import NEVER
from compress.runtimes.onnxruntime import nodes_in
from compress.runtimes.table import load_runtime
from compress.targets.exporting import Shipped
from compress.targets.onnx.exits import nest_exits
from compress.targets.onnx.versions import versions_of
from tests.leaving import exits_in, leaving, left, some_tokens
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, logits_of, tiny_bert, tokens, toy_task

LOOSE: dict[str, Any] = {"max_flips": 1.0, "max_relative_error": 10.0}
"""Of random models, whose texts stand close to every threshold."""
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic": ("onnxruntime-cpu-int8", LOOSE),
    "static": ("onnxruntime-cpu-int8", {"activations": "static", **LOOSE}),
    "q4": ("onnxruntime-cpu-q4", LOOSE),
    "openvino": ("openvino-cpu", {"precision": "float32"}),
    "openvino-int8": ("openvino-cpu-int8", {"precision": "float32", **LOOSE}),
}


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    """Texts leave it at three places."""
    return leaving()


@pytest.fixture(scope="module")
def shipped(model: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """The same model as one file."""
    return cp.export(model, tmp_path_factory.mktemp("exits") / "out", target="onnxruntime-cpu", task=toy_task())


def run(folder: Path, batch: dict[str, torch.Tensor], runtime: str = "onnx") -> tuple[np.ndarray, np.ndarray]:
    """The logits and the exits of a file."""
    outputs = load_runtime(runtime).open(folder / "model.onnx").run({name: part.numpy() for name, part in batch.items()})
    return outputs["logits"], outputs["exit"]


def alone(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """One text without its padding."""
    length = int(batch["attention_mask"][row].sum())
    return {name: values[row : row + 1, :length] for name, values in batch.items()}


def test_it_answers_as_the_model_does_at_other_sizes(model: PreTrainedModel, shipped: Shipped) -> None:
    assert shipped.stages[-1].accepted
    for batch in (some_tokens(), tokens(), tokens(seed=1, lengths=(20,)), tokens(seed=2, lengths=(3, 24))):
        logits, exits = run(shipped.path, batch)
        np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-4)
        assert exits.tolist() == left(model, **batch).tolist()


def test_texts_of_one_batch_leave_where_each_leaves_alone(shipped: Shipped) -> None:
    batch = some_tokens()
    logits, exits = run(shipped.path, batch)
    assert set(exits.tolist()) == {0, 1, 2}
    for row in range(len(logits)):
        own, exit = run(shipped.path, alone(batch, row))
        np.testing.assert_allclose(own[0], logits[row], atol=1e-4)
        assert exit.tolist() == [exits[row]]


def test_the_file_is_whole_in_itself_and_standard(model: PreTrainedModel, shipped: Shipped) -> None:
    proto = onnx.load(shipped.path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert [output.name for output in proto.graph.output] == ["logits", "exit"]
    assert {node.domain for node in nodes_in(proto.graph)} == {""}
    assert versions_of(shipped.path / "model.onnx")[0] == 8
    assert [node.op_type for node in nodes_in(proto.graph)].count("If") == 2
    assert len(proto.SerializeToString()) < 1.3 * sum(4 * parameter.numel() for parameter in model.parameters()) + 40_000
    exits = exits_in(model)
    facts = {"layers": [0, 1], "measure": "probability", "thresholds": exits.thresholds}
    assert read_facts(shipped.path).exits == facts


@pytest.mark.slow
@pytest.mark.matrix
def test_what_stands_above_an_exit_does_not_run_where_all_leave(tmp_path: Path) -> None:
    macs = []
    for number, thresholds in enumerate(([0.0, 0.0], [NEVER, 0.0], [NEVER, NEVER])):
        student = leaving()
        exits_in(student).thresholds = thresholds
        folder = cp.export(student, tmp_path / str(number), target="onnxruntime-cpu", task=toy_task()).path
        macs.append(onnx_counts(folder / "model.onnx", 20)["macs"])
    length, width, neurons = 20, 16, 24
    layer = length * (4 * width * width + 2 * width * neurons) + 2 * length * length * width
    assert macs[0] < layer  # one token of a layer, and the exit
    assert macs[1] - macs[0] == pytest.approx(layer + macs[0], rel=0.02)
    assert macs[2] - macs[1] == pytest.approx(layer + macs[0], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("form", mostly_matrix(FORMS, ["dynamic"]))
def test_other_files_let_texts_leave_too(form: str, model: PreTrainedModel, tmp_path: Path) -> None:
    target, options = FORMS[form]
    folder = cp.export(model, tmp_path / "out", target=target, task=toy_task(), **options)
    runtime = "openvino" if form.startswith("openvino") else "onnx"
    batch = some_tokens()
    logits, exits = run(folder.path, batch, runtime)
    assert len(set(exits.tolist())) > 1
    if form in ("static", "openvino", "openvino-int8"):  # whose scales do not see the whole batch
        for row in range(len(logits)):
            own, exit = run(folder.path, alone(batch, row), runtime)
            np.testing.assert_allclose(own[0], logits[row], atol=1e-3)
            assert exit.tolist() == [exits[row]]
    if form in ("dynamic", "static"):  # 3 layers for the first token alone, 2 whole ones, 2 exits, and the pooler
        assert folder.stages[-1].integer_ops == 5 * 6 + 2 + 1
        assert not [name for name in folder.stages[-1].stayed_float if "classifier" not in name]


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_family_lets_texts_leave(kind: str, tmp_path: Path) -> None:
    model, batch = leaving(kind), some_tokens()
    folder = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task()).path
    logits, exits = run(folder, batch)
    np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-3)
    assert exits.tolist() == left(model, **batch).tolist()


@pytest.mark.parametrize("target", ["tensorrt-int8", "onnxruntime-cuda-fp16"])
def test_targets_without_such_files_refuse_by_name(target: str, model: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{target} has no files for a model with exits .early_exit.; allowed: onnx"):
        cp.export(model, tmp_path / "out", target=target, task=toy_task())
    assert not (tmp_path / "out").exists()


def test_a_graph_without_exits_is_left_as_it_is(tmp_path: Path) -> None:
    folder = cp.export(tiny_bert(), tmp_path / "out", target="onnxruntime-cpu", task=toy_task()).path
    graph = ir.load(folder / "model.onnx")
    before = ir.to_proto(graph).SerializeToString()
    assert nest_exits(graph) == 0
    assert ir.to_proto(graph).SerializeToString() == before
    assert read_facts(folder).exits == {}


def test_facts_about_exits_that_do_not_fit_are_refused(shipped: Shipped, tmp_path: Path) -> None:
    text = (shipped.path / "bert_compress.json").read_text(encoding="utf-8")
    assert '"measure": "probability"' in text
    for old, new in (('"thresholds": [', '"thresholds": [0.5, '), ('"thresholds": [', '"thresholds": ["a", ')):
        (tmp_path / "bert_compress.json").write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match="exits"):
            read_facts(tmp_path)
