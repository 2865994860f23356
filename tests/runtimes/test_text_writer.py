"""An exported model that writes: its files, its driver without torch, what is measured of it, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compress as cp
from compress.benchmark.counts import onnx_counts, torch_macs
from compress.benchmark.measurement import evaluate
from compress.benchmark.subjects import subject_of
from compress.errors import InputError
from compress.models.encoder_decoder import TorchWriter, search_with
from compress.models.layout import parameter_count
from compress.models.surgery import keep_heads, keep_neurons
from compress.runtimes.onnxruntime import open_graph
from compress.runtimes.runtime import LOGITS
from compress.runtimes.table import load_runtime
from compress.runtimes.text_writer import TextWriter
from compress.runtimes.writer_files import open_writer, read_search
from compress.runtimes.writing import forced, write
from compress.targets import TARGETS
from compress.targets.refusing import refuse_shape
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.written_texts import tiny_writer, writing_task

LOOSE = {"max_flips": 1.0, "max_relative_error": 10.0}
INT8 = "onnxruntime-cpu-int8"


def uneven() -> Any:
    """A model whose layers have lost some heads and neurons, the decoder's last all of its own heads."""
    heads, neurons = [[0, 2], [1], [0, 1, 3], []], [range(20), range(8), range(24), range(12)]
    return keep_neurons(keep_heads(tiny_writer(), heads), neurons)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A trained model, and the folders of its float and int8 files."""
    task, room = writing_task(), tmp_path_factory.mktemp("shipped")
    run = StepContext(device="cpu")
    model = cp.fine_tune(uneven(), task=task, epochs=4, batch_size=16, learning_rate=5e-3, run=run)
    float_folder = cp.export(model, room / "float", target="onnxruntime-cpu", task=task).path
    return model, float_folder, cp.export(model, room / "int8", target=INT8, task=task, **LOOSE).path


@pytest.mark.slow
def test_a_folder_holds_two_files_and_tells_how_texts_are_written(shipped: tuple[Any, Path, Path]) -> None:
    model, folder, _ = shipped
    names = {path.name for path in folder.iterdir()}
    wanted = {
        "encoder.onnx",
        "decoder.onnx",
        "tokenizer.json",
        "decoder_tokenizer.json",
        "generation_config.json",
        "config.json",
    }
    assert wanted <= names
    assert not {"model.onnx", "export.json", "model.onnx.data"} & names
    assert read_search(folder) == search_with(model)
    encoder, decoder = (onnx.load(folder / f"{name}.onnx").graph for name in ("encoder", "decoder"))
    assert [value.name for value in encoder.output] == [
        value.name for value in decoder.input if value.name.startswith("cross.")
    ]
    assert [value.name for value in decoder.input if value.name.startswith("past.")] == ["past.0.key", "past.0.value"]
    facts = json.loads((folder / "bert_compress.json").read_text(encoding="utf-8"))
    assert (facts["file"], facts["kind"]) == ("encoder.onnx", "sequence-to-sequence")
    assert subject_of(folder).file == folder / "encoder.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_the_files_write_what_the_model_writes_alone_and_in_batches(beams: int, shipped: tuple[Any, Path, Path]) -> None:
    model, folder, _ = shipped
    task = writing_task()
    texts = list(task.evaluation.texts)
    encoded = task.encode(task.evaluation, model.tokenizer)
    expected = encoded.labels.said(predict(model, encoded, beams=beams))
    writer = TextWriter(folder, beams=beams)
    assert writer.write(texts) == expected
    assert [writer.write([text])[0] for text in texts[:4]] == expected[:4]
    assert writer.write([]) == []


@pytest.mark.slow
def test_given_texts_are_scored_as_the_model_scores_them_at_other_sizes(shipped: tuple[Any, Path, Path]) -> None:
    model, folder, int8 = shipped
    task = writing_task()
    encoded = task.encode(task.evaluation, model.tokenizer)
    sessions = [open_writer(path / "encoder.onnx", open_graph) for path in (folder, int8)]
    for rows in ([0], [1, 2, 3], range(20)):
        batch = encoded.batch(list(rows))
        mask = batch["decoder_attention_mask"].astype(bool)
        expected = forced(TorchWriter(model), batch)[mask]
        exact, rounded = (session.run(batch)[LOGITS][mask] for session in sessions)
        np.testing.assert_allclose(exact, expected, atol=1e-4)
        assert 0 < np.abs(rounded - expected).max() < 1.5


@pytest.mark.slow
def test_it_is_measured_as_what_it_writes(shipped: tuple[Any, Path, Path]) -> None:
    model, folder, int8 = shipped
    task = writing_task()
    measured = cp.measure([model, folder, int8], task=task, length=[8], rounds=1, samples=3)
    torch_entry, float_entry, int8_entry = measured.subjects
    assert float_entry["metrics"] == pytest.approx(torch_entry["metrics"])
    assert (float_entry["agreement"], float_entry["drop"]["value"]) == (1.0, 0.0)
    assert float_entry["macs"] == torch_entry["macs"] == int8_entry["macs"] == torch_macs(model, 8)
    assert float_entry["parity"]["label_flips"] == float_entry["parity"]["batch_invariance_flips"] == 0
    assert int8_entry["integer_ops"] > 10
    assert float_entry["parameters"] > torch_entry["parameters"] == parameter_count(model)  # the word table stands twice
    assert float_entry["size_bytes"] == sum((folder / f"{name}.onnx").stat().st_size for name in ("encoder", "decoder"))
    assert onnx_counts(folder / "encoder.onnx", 4)["macs"] == torch_macs(model, 4)
    assert all(entry["latency"][0]["p50_ms"] > 0 for entry in measured.subjects)
    scores = evaluate(folder, task=task)
    assert scores["metrics"] == pytest.approx(float_entry["metrics"])


@pytest.mark.slow
def test_the_driver_imports_no_torch(shipped: tuple[Any, Path, Path]) -> None:
    code = (
        "import sys; from compress.runtimes.text_writer import TextWriter; "
        f"print(len(TextWriter({str(shipped[1])!r}).write(['the film was good']))); "
        "print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["1", "[]"], ended.stderr


@pytest.mark.slow
def test_texts_and_numbers_that_cannot_be_are_refused(shipped: tuple[Any, Path, Path]) -> None:
    writer = TextWriter(shipped[1])
    for texts, said in (("a film", "give a list of texts"), (["a", " "], r"texts\[1\] is ' '"), ([3], r"texts\[0\] is 3")):
        with pytest.raises(InputError, match=said):
            writer.write(texts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="beams is 0; allowed: 1 to 64"):
        TextWriter(shipped[1], beams=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "decoder.onnx").unlink(), "has no encoder.onnx and decoder.onnx"),
        (lambda folder: (folder / "decoder.onnx").write_bytes(b"no graph"), "cannot be loaded by onnxruntime"),
        (lambda folder: shutil.copy(folder / "encoder.onnx", folder / "decoder.onnx"), "do not belong together"),
        (lambda folder: (folder / "decoder_tokenizer.json").unlink(), "decoder_tokenizer.json cannot be read as a tokenizer"),
        (lambda folder: (folder / "generation_config.json").unlink(), "decoder_start_token_id is None; allowed"),
        (lambda folder: (folder / "generation_config.json").write_text("[]", encoding="utf-8"), "holds a list, not an object"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    change: Any, said: str, shipped: tuple[Any, Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(shipped[1], folder)
    change(folder)
    with pytest.raises(InputError, match=said):
        TextWriter(folder)


@pytest.mark.slow
def test_files_run_on_the_cpu_alone(shipped: tuple[Any, Path, Path]) -> None:
    runtime = load_runtime("onnx")
    assert runtime.place(shipped[1]) == shipped[1] / "encoder.onnx"
    with pytest.raises(InputError, match="is run on the CPU alone, not on cuda"):
        runtime.open(runtime.place(shipped[1]), device="cuda")


@pytest.mark.matrix
@pytest.mark.slow
def test_ranges_that_were_learned_are_those_of_the_file(tmp_path: Path) -> None:
    task, run = writing_task(), StepContext(device="cpu")
    model = cp.fine_tune(tiny_writer(), task=task, epochs=2, batch_size=16, learning_rate=5e-3, run=run)
    aware = cp.quantize_aware(model, task=task, epochs=1, batch_size=16, learning_rate=1e-3, run=run)
    again = cp.load(cp.save(aware, tmp_path / "saved"))
    made = cp.export(again, tmp_path / "out", target=INT8, task=task, max_flips=0.3)
    assert [stage.name for stage in made.stages] == ["export", "lower", "int8"]
    assert made.stages[-1].integer_ops > 20
    batch = task.encode(task.evaluation, model.tokenizer).batch(range(20))
    mask = batch["decoder_attention_mask"].astype(bool)
    expected = forced(TorchWriter(aware), batch)[mask]
    rounded = open_writer(made.path / "encoder.onnx", open_graph).run(batch)[LOGITS][mask]
    assert task.rules.relative_error(expected, rounded) < 0.1


ABLE = ("onnxruntime-cpu", INT8, "onnxruntime-cpu-q4")
"""Targets with files for a model that writes."""


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ABLE])
def test_other_targets_say_at_once_that_they_have_no_such_files(target: str, tmp_path: Path) -> None:
    model = tiny_writer()
    said = rf"{target} has no files for a model that writes texts \(Seq2SeqLM\); allowed: {', '.join(ABLE)}\."
    with pytest.raises(InputError, match=said):
        refuse_shape(target, {}, model)
    with pytest.raises(InputError, match=said):
        cp.export(model, tmp_path / "out", target=target, task=writing_task())
    assert not (tmp_path / "out").exists()


def test_other_beams_are_those_of_the_search() -> None:
    model = tiny_writer()
    assert search_with(model, 4) == replace(search_with(model), beams=4)
    task = writing_task()
    batch = task.encode(task.train.take(3), model.tokenizer).unwritten.batch(range(3))
    assert write(TorchWriter(model), batch, search_with(model, 2)).shape == (3, 20)
