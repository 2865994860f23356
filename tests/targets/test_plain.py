"""A BiLSTM and a bag of vectors are saved, trained, shipped and counted as every other model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.counts import onnx_counts, onnx_macs, torch_macs
from compress.errors import InputError
from compress.models.bilstm import BothDirections
from compress.models.families import KNOWN, WITHOUT_ENCODER
from compress.models.from_teacher import student_of
from compress.models.static import FACTOR
from compress.targets.exporting import export
from compress.targets.onnx.graph import in_onnxruntime
from compress.training.loop import train
from compress.training.step_context import StepContext
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tokens, toy_task
from tests.training.settings import LABELS_LOSS, settings

SIZES: dict[str, dict[str, Any]] = {
    "bilstm": {"embedding_size": 12, "lstm_size": 8, "head_size": 6},
    "static": {"embedding_size": 12, "bigram_buckets": 31, "bigram_size": 4, "head_size": 6},
}
BOTH = pytest.mark.parametrize("kind", WITHOUT_ENCODER)
LENGTHS = ((2,), (24,), (5, 5, 5), (9, 4, 1, 7))


def student(kind: str, **changes: Any) -> PreTrainedModel:
    """A small one whose pairs of words have vectors already."""
    model = student_of(tiny_bert(), kind, **{**SIZES[kind], **changes})
    if kind == "static":
        torch.nn.init.normal_(model.bigrams.weight, generator=torch.Generator().manual_seed(1))
    return model


@BOTH
@pytest.mark.parametrize("pairs", [False, True])
def test_a_saved_student_is_the_same_here_and_with_its_own_class(kind: str, pairs: bool, tmp_path: Path) -> None:
    model = student(kind, pairs=pairs)
    folder = cp.save(model, tmp_path / "saved")
    again, plain = cp.load(folder), KNOWN[kind].classifier.from_pretrained(folder).eval()
    assert not differences(state_of(model), state_of(again))
    assert torch.equal(logits_of(again), logits_of(model))
    torch.testing.assert_close(logits_of(plain), logits_of(model))


@BOTH
def test_a_damaged_students_folder_is_refused(kind: str, tmp_path: Path) -> None:
    folder = cp.save(student(kind), tmp_path / "saved")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"embedding_size": 12', '"embedding_size": -12'))
    with pytest.raises(InputError, match="embedding_size=-12 must be a positive whole number"):
        cp.load(folder)
    config.write_text(config.read_text().replace('"embedding_size": -12', '"embedding_size": 13'))
    with pytest.raises(InputError, match=r"embeddings.weight has shape \(17, 12\), not \(17, 13\)"):
        cp.load(folder)


def test_a_static_student_learns_the_pairs_that_its_text_holds_and_no_other(exact: None) -> None:
    task, model = toy_task(), student("static", bigram_buckets=997)
    encoded = task.encode(task.train, model.tokenizer)
    pairs = {(first * FACTOR + second) % 997 for row in encoded.input_ids for first, second in itertools.pairwise(row)}
    trained = train(model, task=task, settings=settings(weight_decay=0.0), goal=LABELS_LOSS, run=StepContext())
    changed = (trained.bigrams.weight != model.bigrams.weight).any(1).nonzero()[:, 0].tolist()
    assert set(changed) <= pairs
    assert len(changed) > 0.9 * len(pairs)  # a step may not see a word, and its pairs with it


@BOTH
def test_a_student_learns_in_the_loop(kind: str) -> None:
    model = student(kind)
    trained = train(model, task=toy_task(), settings=settings(), goal=LABELS_LOSS, run=StepContext())
    assert {"embeddings.weight", "dense.weight", "classifier.bias"} <= set(differences(state_of(trained), state_of(model)))


@BOTH
@pytest.mark.parametrize("pairs", [False, True])
def test_the_float_file_answers_as_torch_at_every_size(kind: str, pairs: bool, tmp_path: Path) -> None:
    model = student(kind, pairs=pairs)
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    opened = in_onnxruntime(shipped.path / "model.onnx")
    for lengths in LENGTHS:
        batch = tokens(lengths=lengths)
        logits = opened.run({name: values.numpy() for name, values in batch.items()})
        np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-5)
    assert onnx_macs(shipped.path / "model.onnx", 10) == torch_macs(model, 10)


def test_the_files_of_a_deep_bilstm_answer_as_torch_with_an_operator_for_each_layer(tmp_path: Path) -> None:
    model = student("bilstm", lstm_layers=2, mixes=True, embedding_size=8)
    torch.nn.init.normal_(model.mix.weights, generator=torch.Generator().manual_seed(1))
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(model))
    shipped = export(model, tmp_path / "float", target="onnxruntime-cpu", task=toy_task())
    opened = in_onnxruntime(shipped.path / "model.onnx")
    for lengths in LENGTHS:
        batch = tokens(lengths=lengths)
        logits = opened.run({name: values.numpy() for name, values in batch.items()})
        np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-5)
    assert onnx_macs(shipped.path / "model.onnx", 10) == torch_macs(model, 10)
    assert isinstance(model.uppers[0], BothDirections)
    whole = export(model, tmp_path / "whole", target="onnxruntime-cpu-int8", task=toy_task())
    assert whole.stages[-1].accepted
    assert whole.stages[-1].integer_ops == 3  # two LSTMs, and the layer behind them


def test_the_integer_file_of_a_bilstm_multiplies_integers_and_holds_no_float_matrix(tmp_path: Path) -> None:
    model = student("bilstm")
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task())
    assert shipped.stages[-1].accepted
    assert shipped.stages[-1].integer_ops == 2  # the LSTM, and the layer behind it
    assert shipped.stages[-1].stayed_float == ("classifier",)
    file = shipped.path / "model.onnx"
    assert onnx_counts(file, 10)["macs"] == torch_macs(model, 10)
    large = {tensor.name: tensor.data_type for tensor in onnx.load(file).graph.initializer if np.prod(tensor.dims) > 128}
    assert set(large.values()) == {onnx.TensorProto.INT8}


@pytest.mark.parametrize("bits", [8, 4])
def test_the_integer_file_of_a_static_student_holds_its_tables_in_whole_numbers(
    bits: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = student("static")
    with caplog.at_level("INFO"):
        shipped = export(model, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), embedding_bits=bits)
    assert shipped.stages[-1].accepted
    assert shipped.stages[-1].integer_ops == 0
    assert "a mean of vectors has no product to run on integers" in caplog.text
    tables = {
        tensor.name: list(tensor.dims)
        for tensor in onnx.load(shipped.path / "model.onnx").graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(tensor.dims) == 2
    }
    part = 8 // bits
    assert sorted(tables.values()) == [[17, 12 // part], [31, 4 // part]]


@BOTH
@pytest.mark.parametrize("target", ["onnxruntime-cpu-int8", "openvino-cpu-int8", "tensorrt-int8"])
def test_fixed_ranges_are_refused_with_what_to_do(kind: str, target: str, tmp_path: Path) -> None:
    options = {"activations": "static"} if target.startswith("onnx") else {}
    with pytest.raises(InputError, match=f"a {kind} has no encoder, .* export it to a float target"):
        export(student(kind), tmp_path / "out", target=target, task=toy_task(), **options)


@BOTH
def test_layers_cannot_be_dropped(kind: str) -> None:
    with pytest.raises(InputError, match=f"drop_layers: this {kind} has no encoder layers"):
        cp.drop_layers(student(kind), keep=[0])
