"""What is shipped says what the torch model says, at any size, and nothing else is shipped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from compress.errors import CompressError, InputError, NoEffect
from compress.targets.exporting import Shipped, export
from compress.targets.onnx.graph import in_onnxruntime
from compress.targets.onnx.parity import ParityCheck
from compress.targets.openvino_cpu import in_openvino
from compress.tasks.labelled import Task
from tests.targets.graphs import NAMES, BagOfWords, deployed_answers, plain_answers, write_bag_of_words
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, state_of, tiny_bert, tokens, toy_task

FILES = [
    ".bert-compress",
    "bert_compress.json",
    "config.json",
    "export.json",
    "model.onnx",
    "model.onnx.data",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
]
SHAPES = [(1,), (9,), (24,), (5, 5, 5), (9, 4, 1, 7), (24, 1, 3, 2, 7, 9, 11, 13)]
TARGETS = ("onnxruntime-cpu", "onnxruntime-cpu-int8")
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "static": ("onnxruntime-cpu-int8", {"activations": "static"}),
    "openvino-cpu": ("openvino-cpu", {}),
    "openvino-cpu-int8": ("openvino-cpu-int8", {}),
    "tensorrt-int8": ("tensorrt-int8", {}),
    "onnxruntime-cuda-fp16": ("onnxruntime-cuda-fp16", {}),
    "four bits": ("onnxruntime-cpu-int8", {"embedding_bits": 4}),
    "openvino four bits": ("openvino-cpu-int8", {"embedding_bits": 4}),
}
"""The other targets and forms, each exported once."""


def wide_bert() -> PreTrainedModel:
    """Wide enough for eight bits to mean something, and sure of its answers."""
    return tiny_bert(hidden_size=32, intermediate_size=64, initializer_range=0.15)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[PreTrainedModel, Shipped]]:
    """One model, exported to both targets."""
    model, folder = wide_bert(), tmp_path_factory.mktemp("shipped")
    before = state_of(model)
    exports = {
        target: (model, export(model, folder / target, target=target, task=toy_task(), **options))
        for target, options in zip(TARGETS, ({}, {"weight_bits": 7}), strict=True)
    }
    assert not differences(state_of(model), before)
    assert model.config._attn_implementation == "sdpa"
    return exports


def batch_of(lengths: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in tokens(lengths=lengths).items()}


@pytest.mark.floors
@pytest.mark.slow
@pytest.mark.parametrize("lengths", SHAPES)
def test_the_float_file_answers_as_torch_at_every_size(shipped: Any, lengths: tuple[int, ...]) -> None:
    model, exported = shipped["onnxruntime-cpu"]
    batch = batch_of(lengths)
    np.testing.assert_allclose(deployed_answers(exported.path / "model.onnx", batch), plain_answers(model, batch), atol=1e-4)


@pytest.mark.floors
@pytest.mark.slow
@pytest.mark.parametrize("lengths", SHAPES)
def test_the_int8_file_answers_nearly_as_torch_at_every_size(shipped: Any, lengths: tuple[int, ...]) -> None:
    model, exported = shipped["onnxruntime-cpu-int8"]
    batch = batch_of(lengths)
    errors = deployed_answers(exported.path / "model.onnx", batch) - plain_answers(model, batch)
    assert 1e-5 < np.abs(errors).max() < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_padding_does_not_change_the_float_file_s_answers(shipped: Any, target: str) -> None:
    _, exported = shipped[target]
    batch = batch_of((9, 4))
    alone = {name: values[1:, :4] for name, values in batch.items()}
    answers = [deployed_answers(exported.path / "model.onnx", inputs)[-1] for inputs in (batch, alone)]
    np.testing.assert_allclose(*answers, atol=1e-4 if target == "onnxruntime-cpu" else 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_folder_loads_without_this_package(shipped: Any, target: str) -> None:
    model, exported = shipped[target]
    assert sorted(os.listdir(exported.path)) == FILES
    assert exported.name == target
    config = AutoConfig.from_pretrained(exported.path)
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.id2label == {0: "bad", 1: "good"}
    words = AutoTokenizer.from_pretrained(exported.path)("a good film", return_tensors="np")
    answer = deployed_answers(exported.path / "model.onnx", dict(words))
    assert answer.argmax() == plain_answers(model, dict(words)).argmax()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_and_output_are_named_and_free_in_size(shipped: Any, target: str) -> None:
    graph = onnx.load(shipped[target][1].path / "model.onnx").graph
    assert [value.name for value in graph.input] == list(NAMES)
    assert [value.name for value in graph.output] == ["logits"]
    for value in graph.input:
        dimensions = value.type.tensor_type.shape.dim
        assert len(dimensions) == 2
        assert all(dimension.dim_param for dimension in dimensions)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.INT64


@pytest.mark.slow
def test_bert_compress_json_tells_what_was_done(shipped: Any) -> None:
    facts = {target: json.loads((shipped[target][1].path / "bert_compress.json").read_text()) for target in TARGETS}
    for target, content in facts.items():
        assert content["schema"] == 1
        assert content["target"] == target
        assert content["inputs"] == list(NAMES)
        assert content["labels"] == ["bad", "good"]
        assert content["max_length"] == 24
        assert content["file"] == "model.onnx"
        assert all(stage["accepted"] for stage in content["stages"])
        assert [ParityCheck(**{**stage, "stayed_float": tuple(stage["stayed_float"])}) for stage in content["stages"]] == list(
            shipped[target][1].stages
        )
    assert [stage["name"] for stage in facts["onnxruntime-cpu"]["stages"]] == ["export"]
    assert [stage["name"] for stage in facts["onnxruntime-cpu-int8"]["stages"]] == ["export", "int8"]
    assert facts["onnxruntime-cpu"]["integers"] == {}
    assert facts["onnxruntime-cpu-int8"]["integers"]["safe_on"] == "every processor"
    assert facts["onnxruntime-cpu-int8"]["options"] == {"weight_bits": 7}


@pytest.mark.slow
def test_integers_are_multiplied_in_the_int8_file_alone(shipped: Any) -> None:
    (plain,), (raw, int8) = (shipped[target][1].stages for target in TARGETS)
    assert plain.integer_ops == raw.integer_ops == 0
    assert int8.integer_ops >= 2 * 4  # at least query, output and both feed-forward products of each layer


@pytest.mark.slow
def test_the_int8_file_is_smaller_says_its_bits_and_keeps_to_them(shipped: Any) -> None:
    path = shipped["onnxruntime-cpu-int8"][1].path / "model.onnx"
    proto = onnx.load(path)
    assert {note.key: note.value for note in proto.metadata_props}.items() >= {
        "weight_bits": "7",
        "activations": "dynamic",
        "safe_on": "every processor",
    }.items()
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2 and tensor.dims[0] not in (17, 24, 2)
    ]
    assert len(weights) >= 2 * 4
    assert max(np.abs(weight.astype(int)).max() for weight in weights) in (63, 64)


@pytest.mark.slow
def test_the_classifier_stays_float(shipped: Any) -> None:
    graph = onnx.load(shipped["onnxruntime-cpu-int8"][1].path / "model.onnx").graph
    kept = [t for t in graph.initializer if sorted(t.dims) == [2, 32] and t.data_type == onnx.TensorProto.FLOAT]
    model = shipped["onnxruntime-cpu-int8"][0]
    weights = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in kept}
    weight = model.classifier.weight.detach().numpy()
    assert weights & {weight.tobytes(), np.ascontiguousarray(weight.T).tobytes()}


@pytest.mark.slow
def test_a_stage_beyond_its_limit_is_rejected_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match="stage int8 does not say what the torch model says") as caught:
        export(wide_bert(), tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), max_relative_error=1e-6)
    assert caught.value.exit_code == 1
    assert not os.listdir(tmp_path)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[PreTrainedModel, Shipped]]:
    """One model in every other form; what it was before is what it is afterwards."""
    model, folder, task = wide_bert(), tmp_path_factory.mktemp("others"), toy_task()
    before = state_of(model)
    loose = {"max_relative_error": 10.0, "max_flips": 1.0}  # a random model's answers are near ties
    exports = {}
    for name, (target, options) in OPTIONS.items():
        limits = {} if target == "openvino-cpu" else loose
        exports[name] = (model, export(model, folder / name, target=target, task=task, **options, **limits))
    assert not differences(state_of(model), before)
    return exports


@pytest.mark.floors
@pytest.mark.slow
@pytest.mark.parametrize("lengths", SHAPES)
@pytest.mark.parametrize(
    ("name", "tolerance"),
    mostly_matrix(
        [
            ("static", 0.4),
            ("openvino-cpu", 0.1),
            ("openvino-cpu-int8", 0.4),
            ("tensorrt-int8", 0.4),
            ("onnxruntime-cuda-fp16", 0.02),
            ("four bits", 1.0),
            ("openvino four bits", 1.0),
        ],
        always=[("static", 0.4)],
    ),
)
def test_every_form_answers_nearly_as_torch_at_every_size(
    others: Any, name: str, tolerance: float, lengths: tuple[int, ...]
) -> None:
    model, exported = others[name]
    batch = batch_of(lengths)
    opened = in_openvino if name.startswith("openvino") else in_onnxruntime
    answers = opened(exported.path / "model.onnx").run(batch)
    assert np.abs(answers - plain_answers(model, batch)).max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_every_form_s_folder_loads_without_this_package(others: Any, name: str) -> None:
    model, exported = others[name]
    assert sorted(os.listdir(exported.path)) == FILES
    assert AutoConfig.from_pretrained(exported.path).id2label == {0: "bad", 1: "good"}
    words = dict(AutoTokenizer.from_pretrained(exported.path)("a good film", return_tensors="np"))
    file = exported.path / "model.onnx"
    if name.startswith("openvino"):
        answer = openvino.Core().compile_model(file, "CPU")(words)["logits"]
    else:
        answer = deployed_answers(file, words)
    np.testing.assert_allclose(answer, plain_answers(model, words), atol=0.3)
    graph = onnx.load(file).graph
    assert ([value.name for value in graph.input], [value.name for value in graph.output]) == (list(NAMES), ["logits"])
    sizes = [dimension for value in graph.input for dimension in value.type.tensor_type.shape.dim]
    assert len(sizes) == 2 * 3
    assert all(size.dim_param for size in sizes)


@pytest.mark.slow
def test_no_file_tells_of_the_machine_that_wrote_it(others: Any, shipped: Any) -> None:
    for _, exported in (*others.values(), *shipped.values()):
        content = (exported.path / "model.onnx").read_bytes()
        assert not [said for said in (b".py", b"site-packages", b"stack_trace", os.getcwd().encode()) if said in content]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("static", "four bits")])
def test_files_for_other_runtimes_hold_standard_operators_alone(others: Any, name: str) -> None:
    proto = onnx.load(others[name][1].path / "model.onnx")
    assert {node.domain for node in proto.graph.node} == {""}
    onnx.checker.check_model(proto)


@pytest.mark.slow
def test_half_precision_halves_the_weights(others: Any, shipped: Any) -> None:
    """The bytes of all constants with a fraction; those of the float file take twice as many."""
    sizes = []
    for path in (others["onnxruntime-cuda-fp16"][1].path, shipped["onnxruntime-cpu"][1].path):
        tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path / "model.onnx").graph.initializer]
        sizes.append(sum(tensor.nbytes for tensor in tensors if tensor.dtype.kind == "f" and tensor.ndim == 2))
    assert sizes[0] * 2 == sizes[1]


@pytest.mark.slow
def test_static_answers_do_not_change_in_a_padded_batch(others: Any) -> None:
    _, exported = others["static"]
    batch = batch_of((9, 4))
    alone = {name: values[1:, :4] for name, values in batch.items()}
    answers = [deployed_answers(exported.path / "model.onnx", inputs)[-1] for inputs in (batch, alone)]
    np.testing.assert_allclose(*answers, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("static", ["export", "lower", "int8"]),
        ("openvino-cpu", ["export", "openvino"]),
        ("openvino-cpu-int8", ["export", "lower", "int8"]),
        ("tensorrt-int8", ["export", "lower", "int8"]),
        ("onnxruntime-cuda-fp16", ["float16"]),
    ],
)
def test_every_stage_is_told(others: Any, name: str, stages: list[str]) -> None:
    record = json.loads((others[name][1].path / "bert_compress.json").read_text())
    assert [stage["name"] for stage in record["stages"]] == stages
    integers = record["stages"][-1]["integer_ops"]
    assert integers == (2 * 6 + 1 if "lower" in stages else 0)  # six products a layer, and the pooler
    if "lower" in stages:
        assert not {"bert.pooler.dense", "bert.encoder.layer.0.output.dense"} & set(record["stages"][-1]["stayed_float"])


@pytest.mark.slow
def test_half_as_many_bits_make_the_tables_half_as_large(others: Any, shipped: Any) -> None:
    sizes = []
    for path in (shipped["onnxruntime-cpu-int8"][1].path, others["four bits"][1].path):
        tensors = onnx.load(path / "model.onnx").graph.initializer
        tables = [tensor for tensor in tensors if "embeddings" in tensor.name and tensor.name.endswith(("_int8", "_int4"))]
        sizes.append(sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in tables))
    assert sizes[1] * 2 == sizes[0]


# -- fast: with a stand-in for the exporter


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a hand-built graph in the exporter's place; `spoil` changes one of its weights."""
    how: dict[str, Any] = {"spoil": 0.0}

    def write_graph(model: Any, path: Path, **_: Any) -> None:
        matrix = model.matrix.detach().clone()
        matrix[0, 0] += how["spoil"]
        write_bag_of_words(path, model.table, matrix)

    for target in ("onnxruntime_cpu", "onnxruntime_cpu_int8"):
        monkeypatch.setattr(f"compress.targets.{target}.write_graph", write_graph)
    return how


@pytest.mark.parametrize("target", TARGETS)
def test_a_graph_with_a_wrong_weight_is_not_shipped(written: dict[str, Any], toy: Task, tmp_path: Path, target: str) -> None:
    written["spoil"] = 0.5
    with pytest.raises(CompressError, match=rf"{target}: stage export does not say what the torch model says: relative error"):
        export(BagOfWords(), tmp_path / "out", target=target, task=toy)  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)


def test_a_graph_with_the_right_weights_is_shipped(written: dict[str, Any], toy: Task, tmp_path: Path) -> None:
    export(BagOfWords(), tmp_path / "out", target="onnxruntime-cpu", task=toy)  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path / "out")) == FILES


def test_a_graph_in_which_no_integers_are_multiplied_is_no_int8_file(
    written: dict[str, Any], toy: Task, tmp_path: Path
) -> None:
    """Its only product is the classifier, which stays float."""
    with pytest.raises(NoEffect, match="no integer operator; export to a float target instead"):
        export(BagOfWords(), tmp_path / "out", target="onnxruntime-cpu-int8", task=toy)  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)


def test_an_unknown_target_is_refused(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="target 'onnxruntime-gpu' is unknown; allowed: onnxruntime-cpu, onnxruntime-cpu-int8"
    ):
        export(model, tmp_path / "out", target="onnxruntime-gpu", task=toy)
    assert not os.listdir(tmp_path)


def test_a_folder_that_is_not_empty_is_refused_before_any_work(
    toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("the exporter ran"))
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(InputError, match="is not empty"):
        export(tiny_bert(), tmp_path, target="onnxruntime-cpu", task=toy)
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 4},
        {"max_flips": -0.1},
        {"max_flips": 2.0},
        {"max_relative_error": 0.0},
        {"per_channel": "yes"},
    ],
)
def test_options_out_of_range_are_refused_before_any_work(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("the exporter ran"))
    with pytest.raises(InputError, match=next(iter(options))):
        export(model, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy, **options)
    assert not os.listdir(tmp_path)


def test_a_weight_too_large_for_half_precision_is_told(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    with torch.no_grad():
        model.bert.pooler.dense.weight[0, 0] = 65520.0  # rounds to infinity; 65519 would be 65504
    with pytest.raises(CompressError, match=r"bert\.pooler\.dense\.weight has weights beyond 65504"):
        export(model, tmp_path / "out", target="onnxruntime-cuda-fp16", task=toy)
    assert not os.listdir(tmp_path)


def test_an_option_that_the_target_does_not_have_is_refused(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weight_bits"):
        export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy, weight_bits=8)
