"""OpenVINO is asked for before it is needed, and runs a file as it is written."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import compress as cp
from compress.cli import app
from compress.errors import InputError
from compress.pipeline import running
from compress.runtimes.openvino import RUNTIME, counted, kernels_of, open_openvino
from compress.runtimes.runtime import Kernels
from tests.pipeline.conftest import write_data, write_recipe
from tests.targets.graphs import NAMES, BagOfWords, plain_answers, write_bag_of_words
from tests.tiny_models import tiny_bert, tokens, toy_task

COMMAND = "pip install 'bert-compress[openvino]'"
TARGETS = ("openvino-cpu", "openvino-cpu-int8")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be installed under the name openvino."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else find(name, *rest))


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A file built by hand."""
    model = BagOfWords()
    return write_bag_of_words(tmp_path / "model.onnx", model.table, model.matrix)


def batch_of(*lengths: int) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in tokens(lengths=lengths).items()}


# -- not installed


@pytest.mark.usefixtures("missing")
def test_a_missing_openvino_comes_with_the_command_that_installs_it(bag: Path) -> None:
    for ask in (RUNTIME.need, lambda: open_openvino(bag)):
        with pytest.raises(InputError) as caught:
            ask()
        assert COMMAND in str(caught.value)
        assert "choose an onnxruntime target" in str(caught.value)


def test_an_openvino_that_is_installed_is_no_news() -> None:
    assert RUNTIME.available()
    RUNTIME.need()


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("target", TARGETS)
def test_without_openvino_nothing_is_exported_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: pytest.fail("the exporter ran"))
    with pytest.raises(InputError, match="OpenVINO is not installed"):
        cp.export(tiny_bert(), tmp_path / "out", target=target, task=toy_task())
    assert not os.listdir(tmp_path)


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("target", TARGETS)
def test_the_command_refuses_to_export_for_an_openvino_that_is_missing(tmp_path: Path, target: str) -> None:
    folder, data = cp.save(tiny_bert(labels=("0", "1")), tmp_path / "model"), write_data(tmp_path)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["export", str(folder), "--target", target, "--out", str(out), "--data", str(data)])
    assert result.exit_code == 2, result.stderr
    assert result.stderr.count("OpenVINO is not installed") == 1
    assert COMMAND in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("tiny", [["--tiny"], []])
def test_a_run_that_will_need_openvino_ends_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, tiny: list[str]
) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, f"[onnxruntime-cpu, {target}]")
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, ["run", str(recipe), "--out", str(tmp_path / "out"), *tiny])
    assert result.exit_code == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "OpenVINO is not installed" in result.stderr
    assert COMMAND in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("missing")
def test_a_recipe_without_openvino_targets_does_not_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def reached(*_: Any) -> None:
        raise Reached

    monkeypatch.setattr(running, "execute_steps", reached)
    recipe = write_recipe(tmp_path, "[onnxruntime-cpu, onnxruntime-cpu-int8, onnxruntime-cuda-fp16]")
    with pytest.raises(Reached):
        running.run(cp.recipe.read_recipe(recipe), running.RunOptions(tmp_path / "out", tiny=True, device="cpu"))


# -- running a file


def test_a_file_answers_as_the_model_at_every_size(bag: Path) -> None:
    compiled = open_openvino(bag, precision="float32")
    for lengths in ((1,), (24,), (9, 4, 1, 7), (3,)):
        logits = compiled.run(batch_of(*lengths))["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, plain_answers(BagOfWords(), batch_of(*lengths)), atol=1e-4)


def test_answers_are_kept_when_the_next_batch_runs(bag: Path) -> None:
    """OpenVINO reuses the memory of its results."""
    compiled = open_openvino(bag, precision="float32")
    first = compiled.run(batch_of(9, 4))["logits"]
    kept = first.copy()
    compiled.run(batch_of(4, 9))
    np.testing.assert_array_equal(first, kept)


def test_token_types_that_are_not_given_are_zeros(tmp_path: Path) -> None:
    model = BagOfWords()
    path = write_bag_of_words(tmp_path / "model.onnx", model.table, model.matrix, inputs=NAMES)
    batch = batch_of(5, 2)
    given = {name: values for name, values in batch.items() if name != "token_type_ids"}
    np.testing.assert_allclose(
        open_openvino(path, precision="float32").run(given)["logits"], plain_answers(model, batch), atol=1e-4
    )


@pytest.mark.parametrize("content", [b"", b"no graph at all", None])
def test_a_file_that_cannot_be_read_is_told_with_what_to_do(tmp_path: Path, bag: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.onnx cannot be loaded by OpenVINO: .*Export the model again"):
        open_openvino(path)


def test_an_operator_that_openvino_does_not_know_is_told(bag: Path) -> None:
    proto = onnx.load(bag)
    next(node for node in proto.graph.node if node.op_type == "Cast").op_type = "NoSuchOperator"
    onnx.save(proto, bag)
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded by OpenVINO"):
        open_openvino(bag)


def test_threads_and_precision_are_passed_on(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    asked: list[dict[str, Any]] = []
    compile_model = openvino.Core.compile_model

    def watch(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        asked.append({"device": device, **settings})
        return compile_model(self, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", watch)
    open_openvino(bag, threads=1, precision="bfloat16")
    open_openvino(bag)
    assert asked[0].items() >= {"device": "CPU", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "bf16"}.items()
    assert not {"INFERENCE_NUM_THREADS", "INFERENCE_PRECISION_HINT"} & set(asked[1])


# -- what it made of the graph


def test_products_are_counted_by_what_they_multiply() -> None:
    operators = (
        ("FullyConnected", "i8", "a"),
        ("FullyConnected", "u8", "b"),
        ("FullyConnected", "f32", "c"),
        ("FullyConnected", "bf16", "d"),
        ("MatMul", "f32", "e"),
        ("Eltwise", "u8", "f"),
        ("MVN", "f32", "g"),
        ("Subgraph", "f32", "h"),
    )
    assert counted(operators) == Kernels(2, 6, ("c", "d"))  # all with constant weights, the norm and the subgraph


def test_a_product_that_gives_an_output_is_called_by_its_own_name(bag: Path) -> None:
    proto = onnx.load(bag)
    proto.graph.node[-1].name = "classifier.bias"
    onnx.save(proto, bag)
    assert kernels_of((("FullyConnected", "f32", "logits"), ("FullyConnected", "f32", "a")), bag).stayed_float == (
        "classifier",
        "a",
    )


def test_a_float_file_runs_no_integers(bag: Path) -> None:
    kernels = open_openvino(bag).kernels()
    assert kernels.integer_ops == 0
    assert len(kernels.stayed_float) == 1


def test_importing_it_imports_neither_torch_nor_openvino() -> None:
    code = (
        "import sys; import compress.runtimes.openvino; "
        "sys.exit(bool({'torch', 'openvino', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- files that are no classifiers of ours


def test_a_file_that_asks_for_something_else_is_told(bag: Path) -> None:
    proto = onnx.load(bag)
    proto.graph.input[0].name = "words"
    proto.graph.node[0].input[1] = "words"
    onnx.save(proto, bag)
    with pytest.raises(InputError, match=r"asks for words; allowed are inputs input_ids, attention_mask, token_type_ids"):
        open_openvino(bag)


def test_a_file_that_gives_something_else_is_told(bag: Path) -> None:
    proto = onnx.load(bag)
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "answer"
    onnx.save(proto, bag)
    with pytest.raises(InputError, match=r"gives .*; an output called logits is needed"):
        open_openvino(bag)


def test_a_file_for_one_size_alone_is_told(bag: Path) -> None:
    proto = onnx.load(bag)
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, bag)
    with pytest.raises(InputError, match=r"fixes the batch or the length of input_ids, attention_mask; export it with both"):
        open_openvino(bag)


def test_a_recipe_that_would_time_it_on_a_gpu_is_refused_when_it_is_checked(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "[openvino-cpu]")
    recipe.write_text(recipe.read_text(encoding="utf-8") + "benchmark: {device: cuda}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(recipe)])
    assert result.exit_code == 2
    assert 'benchmark.device: "cuda" is not allowed: openvino-cpu runs on the CPU; use cpu' in result.stderr
