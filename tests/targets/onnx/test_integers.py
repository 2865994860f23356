"""A quantized model is lowered with its own ranges, proved at every stage, and not written when a stage fails."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compress.errors import CompressError, InputError, NoEffect
from compress.models.quantizers import quantized_linears, quantizers_off, with_quantizers
from compress.quantization.calibration import Calibrated
from compress.targets.exporting import export
from compress.targets.onnx import integers
from compress.targets.onnx.graph import write_graph
from compress.targets.onnx.lowering import QuantParams
from tests.targets.quantized import labelled_by, quantized_bert, wide_bert
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, state_of, tiny_of, toy_task

TARGET = "onnxruntime-cpu-int8"
BROKEN = "bert.encoder.layer.0.intermediate.dense"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float graph of the model that these tests work on, whatever its ranges."""
    path = tmp_path_factory.mktemp("raw") / "model.onnx"
    model = quantized_bert(toy_task())
    with quantizers_off(model):
        write_graph(model, path)
    return path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, raw: Path) -> None:
    """Spare the exporter, whose graph is the same each time; nothing here may calibrate."""
    monkeypatch.setattr(integers, "write_graph", lambda model, path: shutil.copy(raw, path))
    monkeypatch.setattr(integers, "calibrated", lambda *_: pytest.fail("ranges were looked for"))


def held_in(path: Path) -> dict[str, np.ndarray]:
    """The constants of a file by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def grids_in(path: Path) -> set[tuple[np.float32, int]]:
    """Scale and zero of every QuantizeLinear, the zero counted from -128 on."""
    tensors, nodes = held_in(path), onnx.load(path).graph.node
    grids = [[tensors[name] for name in node.input[1:]] for node in nodes if node.op_type == "QuantizeLinear"]
    return {(np.float32(scale), int(zero) - (128 if zero.dtype == np.uint8 else 0)) for scale, zero in grids}


# -- ranges of the model's own


@pytest.mark.slow
@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", mostly_matrix([True, False], always=[True]))
def test_a_model_that_brings_its_ranges_is_lowered_with_them(tmp_path: Path, symmetric: bool, per_channel: bool) -> None:
    task = toy_task()
    model = quantized_bert(task, symmetric=symmetric, per_channel=per_channel)
    shipped = export(model, tmp_path / "out", target=TARGET, task=task, weight_bits=8)
    assert [stage.name for stage in shipped.stages] == ["export", "lower", "int8"]
    assert shipped.stages[1].relative_error < 1e-2  # but for values half-way between two steps
    assert shipped.stages[1].integer_ops == 2 * 6 + 1  # six products a layer, and the pooler
    expected = set()
    for linear in quantized_linears(model).values():
        low, high = (np.float32(end) for end in (linear.low, linear.high))
        scale = high / np.float32(127) if symmetric else (high - low) / np.float32(255)
        expected.add((scale, 0 if symmetric else int(np.rint(-128 - low / scale))))
    assert grids_in(shipped.path / "model.onnx") == expected
    weight = model.bert.pooler.dense.weight.detach().numpy().T
    size = np.abs(weight).max(axis=0) if per_channel else np.full(weight.shape[1], np.abs(weight).max())
    tensors = held_in(shipped.path / "model.onnx")
    np.testing.assert_allclose(tensors["bert.pooler.dense.weight_scale"], size / 127, rtol=1e-6)
    np.testing.assert_array_equal(tensors["bert.pooler.dense.weight_int8"], np.rint(weight / (size / np.float32(127))))


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_the_model_that_comes_in_stays_as_it_is_with_its_bits(tmp_path: Path) -> None:
    task = toy_task()
    model = quantized_bert(task)
    before = state_of(model)
    shipped = export(
        model, tmp_path / "out", target=TARGET, task=task, weight_bits=7, embedding_bits=4, max_relative_error=5.0
    )
    assert not differences(state_of(model), before)
    assert {linear.qmax for linear in quantized_linears(model).values()} == {127}
    assert model.bert.embeddings.word_embeddings.qmax == 127
    assert all(linear.on for linear in quantized_linears(model).values())
    weights = [
        np.abs(array.astype(int)).max()
        for name, array in held_in(shipped.path / "model.onnx").items()
        if name.endswith(".weight_int8") and "embeddings" not in name
    ]
    assert set(weights) == {63}
    assert json.loads((shipped.path / "bert_compress.json").read_text())["integers"]["weight_bits"] == "7"


@pytest.mark.parametrize("known", [0, 12])
def test_a_range_that_is_not_known_is_refused_by_name(tmp_path: Path, known: int) -> None:
    model = with_quantizers(wide_bert(), per_channel=True, symmetric=True)
    names = list(quantized_linears(model))
    for name in names[:known]:
        quantized_linears(model)[name].set_range(-1.0, 1.0)
    with pytest.raises(InputError, match=rf"the range of {names[known]} is unknown; train the model with quantize_aware"):
        export(model, tmp_path / "out", target=TARGET, task=toy_task())
    assert not os.listdir(tmp_path)


def test_a_linear_that_no_text_reaches_needs_no_range(tmp_path: Path) -> None:
    model = tiny_of("mobilebert", task=toy_task(), trigram_input=False, embedding_size=16)
    assert "embedding_transformation" in " ".join(name for name, _ in model.named_modules())
    shipped = export(
        model, tmp_path / "out", target=TARGET, task=toy_task(), activations="static", max_relative_error=5.0, max_flips=1.0
    )
    assert shipped.stages[-1].integer_ops > 0


@pytest.mark.slow
def test_dynamic_ranges_are_of_the_float_weights(tmp_path: Path) -> None:
    """Ranges that the model brings play no part then, however wrong they are."""
    task = toy_task()
    model = quantized_bert(task, broken=(BROKEN,))
    shipped = export(model, tmp_path / "out", target=TARGET, task=task, activations="dynamic")
    assert [stage.name for stage in shipped.stages] == ["export", "int8"]
    assert grids_in(shipped.path / "model.onnx") == set()


# -- a float model


@pytest.mark.slow
@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Calibrated("mse", 99.99, False, 0.5, False)),
        (
            {"calibration": "percentile", "percentile": 99.0, "symmetric": True, "smooth": None, "correct_bias": True},
            Calibrated("percentile", 99.0, True, None, True),
        ),
        ({"per_channel": False}, Calibrated("mse", 99.99, False, 0.5, False, per_channel=False)),
    ],
)
def test_a_float_model_is_calibrated_as_the_options_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: Calibrated
) -> None:
    asked, task = [], toy_task()

    def calibrated(model: Any, given: Any, how: Calibrated) -> Any:
        asked.append((given, how))
        return quantized_bert(task)

    monkeypatch.setattr(integers, "calibrated", calibrated)
    export(wide_bert(), tmp_path / "out", target=TARGET, task=task, activations="static", **options)
    assert asked == [(task, expected)]


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_ranges_that_lose_the_model_s_answers_are_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file does what fake quantization does, but not what the float model does."""
    task = toy_task()
    linears = ("bert.encoder.layer.0.output.dense", "bert.encoder.layer.1.output.dense", "bert.pooler.dense")
    monkeypatch.setattr(integers, "calibrated", lambda *_: quantized_bert(task, broken=linears))
    with pytest.raises(CompressError, match="stage int8 does not say what the torch model says"):
        export(wide_bert(), tmp_path / "out", target=TARGET, task=task, activations="static")
    assert not os.listdir(tmp_path)


# -- proof


@pytest.mark.slow
@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda grid: replace(grid, zero=grid.zero + 40),
        lambda grid: replace(grid, scale=grid.scale / np.float32(4)),
    ],
)
def test_a_file_that_does_not_do_what_fake_quantization_does_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    of = QuantParams.of
    monkeypatch.setattr(QuantParams, "of", classmethod(lambda cls, linear: spoil(of(linear))))
    task = toy_task()
    with pytest.raises(CompressError, match=rf"{TARGET}: stage lower does not say what the torch model says"):
        export(quantized_bert(task), tmp_path / "out", target=TARGET, task=task)
    assert not os.listdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_lowering_may_differ_from_fake_quantization_by_a_third_of_what_the_file_may(tmp_path: Path) -> None:
    task = toy_task()
    shipped = export(quantized_bert(task), tmp_path / "out", target=TARGET, task=task, max_relative_error=0.3, max_flips=0.3)
    assert ["(allowed 0.1)" in stage.why and "(allowed 10%)" in stage.why for stage in shipped.stages] == [False, True, False]


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_raw_graph_that_is_wrong_already_is_not_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Path) -> None:
    def write_wrong_graph(model: Any, path: Path) -> None:
        proto = onnx.load(raw)
        for tensor in proto.graph.initializer:
            if tensor.name == "model.classifier.bias":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32([1, 0]), tensor.name))
        onnx.save(proto, path)

    monkeypatch.setattr(integers, "write_graph", write_wrong_graph)
    monkeypatch.setattr(integers, "write_lowered", lambda *_: pytest.fail("it was lowered"))
    task = toy_task()
    with pytest.raises(CompressError, match=rf"{TARGET}: stage export does not say"):
        export(quantized_bert(task), tmp_path / "out", target=TARGET, task=task)
    assert not os.listdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_file_in_which_every_product_stays_float_has_no_effect(tmp_path: Path) -> None:
    task = toy_task()
    model = quantized_bert(task)
    for linear in quantized_linears(model).values():
        linear.on = False
    with pytest.raises(NoEffect, match="no integer operator; export to a float target instead"):
        export(model, tmp_path / "out", target=TARGET, task=task)
    assert not os.listdir(tmp_path)


# -- what stays float


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_the_linear_that_bears_it_worst_stays_float_in_the_file(tmp_path: Path) -> None:
    task = labelled_by(wide_bert())
    model = quantized_bert(task, broken=(BROKEN,))
    shipped = export(model, tmp_path / "out", target=TARGET, task=task, max_drop=0.1, max_flips=1.0, max_relative_error=10.0)
    report = json.loads((shipped.path / "sensitivity.json").read_text())
    assert [row["name"] for row in report["ranking"] if row["float"]] == [BROKEN] == [report["ranking"][0]["name"]]
    last = shipped.stages[-1]
    assert last.integer_ops == 2 * 6
    tensors = held_in(shipped.path / "model.onnx")
    assert f"{BROKEN}.weight_int8" not in tensors
    assert "bert.encoder.layer.1.intermediate.dense.weight_int8" in tensors
    weight = dict(model.named_modules())[BROKEN].weight.detach().numpy()
    kept = [tensor for tensor in tensors.values() if tensor.dtype == np.float32 and sorted(tensor.shape) == [32, 64]]
    assert any(np.array_equal(tensor, weight) or np.array_equal(tensor.T, weight) for tensor in kept)
    assert last.stayed_float == (BROKEN, "classifier")


@pytest.mark.slow
@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("target", [TARGET, "openvino-cpu-int8", "tensorrt-int8"])
def test_every_target_calls_the_products_that_stayed_float_by_their_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Among them one of three inputs alike, one before GELU, the pooler, which the exporter writes as Gemm, and the head."""
    kept = ("bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.1.intermediate.dense", "bert.pooler.dense")

    def keep_in_float(student: Any, *_: Any) -> Any:
        for name in kept:
            quantized_linears(student)[name].on = False
        return student

    monkeypatch.setattr(integers, "keep_in_float", keep_in_float)
    task, loose = toy_task(), {"max_flips": 1.0, "max_relative_error": 10.0}
    model = quantized_bert(task, symmetric=True)
    last = export(model, tmp_path / "out", target=target, task=task, max_drop=0.5, **loose).stages[-1]
    assert sorted(last.stayed_float) == sorted([*kept, "classifier"])
    assert last.integer_ops == 2 * 6 + 1 - len(kept)


@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_a_limit_that_the_embeddings_alone_break_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(integers.QMAX, 4, 1)  # rows of -1, 0 and 1
    task = labelled_by(wide_bert())
    model = quantized_bert(task)
    with pytest.raises(CompressError, match="max_drop is 0, but with every Linear in float"):
        export(model, tmp_path / "out", target=TARGET, task=task, max_drop=0.0, embedding_bits=4)
    assert not os.listdir(tmp_path)


def test_no_more_than_all_may_be_lost(tmp_path: Path) -> None:
    for drop in (-0.1, 1.1):
        with pytest.raises(InputError, match="max_drop"):
            export(wide_bert(), tmp_path / "out", target=TARGET, task=toy_task(), max_drop=drop)
    assert not os.listdir(tmp_path)
