from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.benchmark.subjects import (
    Subject,
    input_limits,
    label_count,
    subject_of,
    subjects_on_disk,
    weight_files,
)
from compress.errors import InputError

Folder = Callable[..., Path]


def test_a_folder_with_model_onnx_is_an_onnx_subject_with_the_target_of_its_export(onnx_folder: Folder) -> None:
    folder = onnx_folder(facts={"target": "onnxruntime-cpu-int8"})
    assert subject_of(folder) == Subject("words", "onnx", "onnxruntime-cpu-int8", folder)


@pytest.mark.parametrize("target", ["openvino-cpu", "openvino-cpu-int8"])
def test_a_folder_that_was_exported_for_openvino_runs_there(onnx_folder: Folder, target: str) -> None:
    folder = onnx_folder(facts={"target": target})
    assert subject_of(folder) == Subject("words", "openvino", target, folder)


@pytest.mark.parametrize("target", ["tensorrt-int8", "onnxruntime-cuda-fp16", "not-openvino-cpu"])
def test_every_other_export_runs_in_onnxruntime(onnx_folder: Folder, target: str) -> None:
    assert subject_of(onnx_folder(facts={"target": target})).kind == "onnx"


@pytest.mark.parametrize("facts", [None, {}, {"target": None}])
def test_an_onnx_file_that_nothing_tells_of_has_the_target_onnx(onnx_folder: Folder, facts: Any) -> None:
    assert subject_of(onnx_folder(facts=facts)).target == "onnx"


def test_a_saved_model_is_a_torch_subject(torch_folder: Path) -> None:
    assert subject_of(str(torch_folder), "mine") == Subject("mine", "torch", "torch", torch_folder)


def test_a_folder_given_as_a_dot_has_the_name_of_the_folder(onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(onnx_folder("here"))
    assert subject_of(".").name == "here"


def test_a_link_to_a_folder_has_the_name_of_the_link(onnx_folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "1-distill").symlink_to(onnx_folder("a1b2c3"))
    assert subject_of(tmp_path / "1-distill").name == "1-distill"


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is no folder"):
        subject_of(tmp_path / "nowhere")


def test_a_folder_without_a_model_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match=r"holds notes\.txt; a folder with model\.onnx"):
        subject_of(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing"):
        subject_of(tmp_path)


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors"])
def test_a_model_without_its_config_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(InputError, match=rf"has {file} but no config\.json"):
        subject_of(tmp_path)


def test_shards_are_those_that_the_index_names(tmp_path: Path) -> None:
    for name in ("model-1-of-2.safetensors", "model-2-of-2.safetensors", "model-1-of-9.safetensors", "model.safetensors"):
        (tmp_path / name).write_bytes(b"")
    named = {"a": "model-2-of-2.safetensors", "b": "model-1-of-2.safetensors", "c": "model-2-of-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    assert [path.name for path in weight_files(tmp_path)] == ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]


def test_folders_with_one_name_are_told_apart_by_number(onnx_folder: Folder) -> None:
    folder = onnx_folder()
    with subjects_on_disk([folder, folder, str(folder)]) as subjects:
        assert [subject.name for subject in subjects] == ["words", "words-2", "words-3"]


def test_two_named_subjects_with_one_name_are_refused(onnx_folder: Folder) -> None:
    subject = Subject("same", "onnx", "onnx", onnx_folder())
    with pytest.raises(InputError, match="two subjects are called 'same'"), subjects_on_disk([subject, subject]):
        pass


def test_a_subject_of_the_wrong_kind_is_refused(onnx_folder: Folder) -> None:
    subject = Subject("words", "torch", "torch", onnx_folder())
    with pytest.raises(InputError, match=r"said to be torch, but .* holds onnx"), subjects_on_disk([subject]):
        pass


def test_an_openvino_export_that_is_said_to_be_for_onnxruntime_is_refused(onnx_folder: Folder) -> None:
    subject = Subject("words", "onnx", "openvino-cpu", onnx_folder(facts={"target": "openvino-cpu"}))
    with pytest.raises(InputError, match=r"said to be onnx, but .* holds openvino"), subjects_on_disk([subject]):
        pass


def test_what_an_export_returns_keeps_its_name(onnx_folder: Folder) -> None:
    shipped = SimpleNamespace(path=onnx_folder(), name="shipped")
    with subjects_on_disk([shipped]) as (subject,):
        assert (subject.name, subject.kind) == ("shipped", "onnx")


def test_a_model_in_memory_is_saved_for_the_time_and_loads_again(bert: Any) -> None:
    from compress.models.checkpoint import load

    with subjects_on_disk([bert, bert]) as subjects:
        assert [(subject.name, subject.kind, subject.in_memory) for subject in subjects] == [
            ("tiny", "torch", True),
            ("tiny-2", "torch", True),
        ]
        weight = load(subjects[0].path).classifier.weight
        assert weight.tolist() == bert.classifier.weight.tolist()
    assert not subjects[0].path.exists()


def test_a_model_without_a_tokenizer_is_refused(bert: Any) -> None:
    del bert.tokenizer
    with pytest.raises(InputError, match="BertForSequenceClassification to measure has no tokenizer"):
        subjects_on_disk([bert]).__enter__()


@pytest.mark.parametrize("given", ["runs/words", Path("runs/words"), [], (), 3])
def test_what_is_no_list_of_models_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="a list of models or folders is needed"), subjects_on_disk(given):
        pass


def test_a_single_model_outside_a_list_is_refused_without_its_whole_text(bert: Any) -> None:
    with pytest.raises(InputError, match=r"^subjects is a BertForSequenceClassification; a list"), subjects_on_disk(bert):
        pass


def test_what_is_no_model_is_refused_by_its_type() -> None:
    with pytest.raises(InputError, match="int cannot be measured"), subjects_on_disk([3]):
        pass


def test_input_limits_are_read_off_the_config(onnx_folder: Folder) -> None:
    assert input_limits(subject_of(onnx_folder())) == (12, 40)


@pytest.mark.parametrize("key", ["vocab_size", "max_position_embeddings"])
@pytest.mark.parametrize(
    "value", ["null", "0", "-3", '"30522"', "1.5", "true", "[12]", "{}", "NaN", "1e400", "2147483648", "9" * 4000, "9" * 6000]
)
def test_a_config_without_usable_limits_is_refused_by_file_and_key(onnx_folder: Folder, key: str, value: str) -> None:
    folder = onnx_folder()
    other = "max_position_embeddings" if key == "vocab_size" else "vocab_size"
    (folder / "config.json").write_text(f'{{"{key}": {value}, "{other}": 40}}')
    with pytest.raises(InputError, match=rf"config\.json: {key} is ") as raised:
        input_limits(subject_of(folder))
    assert len(str(raised.value)) < 500


def test_a_number_that_nobody_reads_may_have_any_digits(onnx_folder: Folder) -> None:
    folder = onnx_folder()
    (folder / "config.json").write_text(f'{{"vocab_size": 12, "max_position_embeddings": 40, "seed": {"9" * 6000}}}')
    assert input_limits(subject_of(folder)) == (12, 40)


@pytest.mark.parametrize(("padding", "expected"), [({}, 512), ({"pad_token_id": 1}, 512), ({"pad_token_id": 0}, 513)])
def test_positions_that_are_counted_from_the_padding_on_are_fewer(
    onnx_folder: Folder, padding: dict[str, int], expected: int
) -> None:
    folder = onnx_folder()
    config = {"model_type": "roberta", "vocab_size": 12, "max_position_embeddings": 514, **padding}
    (folder / "config.json").write_text(json.dumps(config))
    assert input_limits(subject_of(folder)) == (12, expected)


def test_labels_are_counted_where_they_are_named(onnx_folder: Folder) -> None:
    folder = onnx_folder()
    assert label_count(subject_of(folder)) is None
    (folder / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c"}}')
    assert label_count(subject_of(folder)) == 3


@pytest.mark.parametrize("names", ["[]", "{}", "3", '"good"', "true"])
def test_names_of_labels_that_are_none_are_refused(onnx_folder: Folder, names: str) -> None:
    folder = onnx_folder()
    (folder / "config.json").write_text(f'{{"id2label": {names}}}')
    with pytest.raises(InputError, match=r"config\.json: id2label is .*an object of one label or more is needed"):
        label_count(subject_of(folder))
