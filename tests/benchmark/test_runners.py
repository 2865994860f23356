from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from compress.benchmark.runners import check_device, load_tokenizer, open_runner
from compress.benchmark.subjects import subject_of
from compress.benchmark.torch_runtime import check_torch_device
from compress.errors import InputError

Folder = Callable[..., Path]
A, GOOD, BAD = 5, 6, 7  # ids of words in the small vocabulary


def padded_batch() -> dict[str, np.ndarray]:
    ids = np.array([[2, GOOD, 8, 3, 0], [2, A, BAD, 8, 3]])
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "CUDA", "cuda:0:1"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(InputError, match="allowed: cpu, cuda, cuda:N"):
        check_device(device, {"torch"})


@pytest.mark.usefixtures("without_gpus")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize(("kind", "words"), [("torch", "torch sees 0 GPUs"), ("onnx", "onnxruntime cannot use it")])
def test_a_gpu_that_is_not_there_is_refused_for_every_kind(device: str, kind: str, words: str) -> None:
    with pytest.raises(InputError, match=f"device is '{device}', but .*{words}"):
        check_device(device, {kind})


@pytest.mark.usefixtures("without_gpus")
def test_the_cpu_is_always_there() -> None:
    check_device("cpu", {"torch", "onnx", "openvino"})


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_openvino_files_are_measured_on_the_cpu_alone(device: str) -> None:
    with pytest.raises(InputError, match=f"device is '{device}', but openvino files run on the CPU here"):
        check_device(device, {"openvino"})


def test_a_missing_openvino_is_told_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(InputError, match=r"pip install 'bert-compress\[openvino\]'"):
        check_device("cpu", {"openvino"})


def test_a_gpu_with_too_high_a_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_torch_device("cuda:1")
    check_torch_device("cuda")
    with pytest.raises(InputError, match="'cuda:2', but torch sees 2 GPUs"):
        check_torch_device("cuda:2")


def test_an_onnx_file_gives_the_logits_worked_out_by_hand(onnx_folder: Folder) -> None:
    runner = open_runner(subject_of(onnx_folder(tokenizer=True)))
    logits = runner.run(padded_batch())
    # one word of 4 is good, one of 5 is bad; padding is not counted
    assert logits.dtype == np.float32
    assert logits == pytest.approx(np.array([[0, 1 / 4], [1 / 5, 0]]))
    assert runner.model is None
    assert runner.tokenizer("good")["input_ids"] == [2, GOOD, 3]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_an_openvino_file_gives_the_logits_worked_out_by_hand(onnx_folder: Folder, precision: str, tolerance: float) -> None:
    facts = {"target": "openvino-cpu", "options": {"precision": precision}}
    runner = open_runner(subject_of(onnx_folder(tokenizer=True, facts=facts)))
    logits = runner.run(padded_batch())
    assert logits.dtype == np.float32
    assert logits == pytest.approx(np.array([[0, 1 / 4], [1 / 5, 0]]), abs=tolerance)
    assert runner.model is None
    assert runner.tokenizer("good")["input_ids"] == [2, GOOD, 3]


def test_a_broken_openvino_file_is_refused(onnx_folder: Folder) -> None:
    folder = onnx_folder(tokenizer=True, facts={"target": "openvino-cpu"})
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded by OpenVINO"):
        open_runner(subject_of(folder))


def test_a_saved_torch_model_gives_the_logits_of_the_model(bert: Any, torch_folder: Path) -> None:
    import torch

    batch = padded_batch()
    with torch.no_grad():
        expected = bert(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
    runner = open_runner(subject_of(torch_folder))
    assert np.abs(runner.run(batch) - expected).max() < 1e-6
    assert runner.model is not None
    assert not runner.model.training


def test_a_file_for_one_batch_size_alone_is_refused_when_it_meets_another(onnx_folder: Folder) -> None:
    folder = onnx_folder(tokenizer=True)
    stored = onnx.load(folder / "model.onnx")
    for node in stored.graph.input:
        node.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(stored, folder / "model.onnx")
    runner = open_runner(subject_of(folder))
    with pytest.raises(InputError, match=r"model\.onnx cannot run 2 examples of 5 tokens: .* free batch size and length"):
        runner.run(padded_batch())


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_batch_longer_than_the_positions_is_refused_before_it_runs(onnx_folder: Folder, target: str) -> None:
    runner = open_runner(subject_of(onnx_folder(tokenizer=True, facts={"target": target})))
    ids = np.full((2, 41), A)
    with pytest.raises(InputError, match=r"has 41 tokens, but 'words' reads at most 40 .*config\.json"):
        runner.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert runner.run({"input_ids": ids[:, :40], "attention_mask": np.ones_like(ids[:, :40])}).shape == (2, 2)


@pytest.mark.parametrize("wrong", [12, 30_000, -1])
@pytest.mark.parametrize("folder", ["onnx", "torch"])
def test_token_ids_beyond_the_vocabulary_are_refused_before_they_run(
    onnx_folder: Folder, torch_folder: Path, wrong: int, folder: str
) -> None:
    runner = open_runner(subject_of(onnx_folder(tokenizer=True) if folder == "onnx" else torch_folder))
    batch = padded_batch()
    batch["input_ids"][1, 1] = wrong
    with pytest.raises(InputError, match=f"the tokenizer gives token id {wrong}, but the vocabulary has 12 words, 0 to 11"):
        runner.run(batch)


def test_a_runner_is_closed_at_the_end(onnx_folder: Folder) -> None:
    with open_runner(subject_of(onnx_folder(tokenizer=True))) as runner:
        assert runner.process is not None
        assert runner.process.end.alive
    assert not runner.process.end.alive


def test_a_file_of_fewer_labels_than_its_config_names_is_refused(onnx_folder: Folder) -> None:
    folder = onnx_folder(tokenizer=True)
    config = {"vocab_size": 12, "max_position_embeddings": 40, "id2label": {"0": "a", "1": "b", "2": "c"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"gives 2 logits for each example, but its config\.json names 3 labels"):
        open_runner(subject_of(folder)).run(padded_batch())


def test_a_folder_without_a_tokenizer_is_refused(onnx_folder: Folder) -> None:
    with pytest.raises(InputError, match=r"has none of tokenizer\.json, vocab\.txt; add the model's"):
        open_runner(subject_of(onnx_folder()))


def test_a_damaged_tokenizer_is_refused(onnx_folder: Folder) -> None:
    folder = onnx_folder(tokenizer=True)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="no tokenizer that can be loaded"):
        load_tokenizer(folder)


def test_a_damaged_torch_model_is_refused(torch_folder: Path) -> None:
    weights = torch_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        open_runner(subject_of(torch_folder))
