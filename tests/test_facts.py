"""What an exported folder tells of itself is read in one place, which refuses what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.benchmark.measurement import evaluate
from compress.benchmark.subjects import subject_of
from compress.errors import InputError
from compress.facts import FACTS, MANIFEST, Facts, SegmentFacts, read_facts
from compress.runtimes.segment_reader import SegmentReader
from compress.runtimes.table import load_runtime, settings_of
from tests.cli.calling import call

STAGES = [
    {"name": "export", "accepted": True, "integer_ops": 0, "fused_ops": 5, "max_abs_error": 1e-6, "label_flips": 0},
    {"name": "int8", "accepted": True, "integer_ops": 13, "fused_ops": 9, "max_abs_error": 0.1, "label_flips": 1},
    {"name": "segment", "accepted": True, "integer_ops": 12, "fused_ops": 8, "max_abs_error": 0.2, "label_flips": 1},
    {"name": "more", "accepted": False, "max_abs_error": float("nan")},
]
TOLD: dict[str, Any] = {
    "schema": 1,
    "target": "openvino-cpu-int8",
    "options": {"precision": "float32", "memory": True},
    "inputs": ["input_ids"],
    "labels": ["bad", "good"],
    "max_length": 64,
    "file": "model.onnx",
    "integers": {"weight_bits": "7", "safe_on": "all"},
    "stages": STAGES,
    "segment": {"file": "segment.onnx", "tokens": 10, "drift": {"1": 0.01, "64": 0.02}},
}
THEIRS = {"schema_version": 1, "export_format": "onnx", "components": {"model": {"file": "model.onnx", "metadata": {}}}}

WRONG: list[tuple[str, Any, str]] = [
    ("max_length", "x", "max_length is 'x'; allowed: a whole number from 4 to 1048576"),
    ("max_length", -3, "max_length is -3"),
    ("max_length", 1, "max_length is 1"),
    ("max_length", True, "max_length is True"),
    ("max_length", 3, "max_length is 3"),
    ("max_length", 64.0, "max_length is 64.0"),
    ("max_length", [64], "max_length is"),
    ("max_length", 10**400, "max_length is 1000"),
    ("max_length", 0, "max_length is 0"),
    ("options", ["precision"], "options is .*allowed: an object"),
    ("options", "float32", "options is 'float32'"),
    ("options", 3, "options is 3"),
    ("target", ["onnxruntime-cpu"], "target is .*allowed: the name of a target"),
    ("target", 3, "target is 3"),
    ("target", "", "target is ''"),
    ("target", {}, "target is {}"),
    ("stages", "export", "stages is 'export'; allowed: a list of objects"),
    ("stages", ["export"], "stages is"),
    ("stages", {"name": "export"}, "stages is"),
    ("stages", [{"accepted": "yes"}], r"stages\[0\]\.accepted is 'yes'; allowed: true or false"),
    ("stages", [{"accepted": 1}], r"stages\[0\]\.accepted is 1"),
    ("stages", [{"accepted": True, "integer_ops": "13"}], r"stages\[0\]\.integer_ops is '13'"),
    ("stages", [{"accepted": True, "fused_ops": -1}], r"stages\[0\]\.fused_ops is -1"),
    ("stages", [{"accepted": True, "label_flips": 0.5}], r"stages\[0\]\.label_flips is 0.5"),
    ("stages", [{}, {"accepted": True, "max_abs_error": float("nan")}], r"stages\[1\]\.max_abs_error is nan"),
    ("stages", [{"accepted": True, "max_abs_error": "small"}], r"stages\[0\]\.max_abs_error is 'small'"),
    ("labels", "good", "labels is 'good'; allowed: a list of texts"),
    ("labels", [0, 1], "labels is"),
    ("inputs", {"input_ids": 1}, "inputs is"),
    ("integers", ["7"], "integers is .*an object"),
    ("integers", {"safe_on": 3}, r"integers\.safe_on is 3"),
    ("segment", 10, "segment is 10"),
    ("segment", {"tokens": "10"}, r"segment\.tokens is '10'"),
    ("segment", {"tokens": True}, r"segment\.tokens is True"),
    ("segment", {"file": "segment.onnx"}, r"segment\.tokens is None"),
    ("segment", {"tokens": 10, "drift": [1]}, r"segment\.drift is"),
    ("segment", {"tokens": 10, "drift": {"64": "far"}}, r"segment\.drift\.64 is 'far'"),
    ("schema", 2, "schema is 2; allowed: 1. Install the bert-compress that wrote bert_compress.json"),
    ("schema", "1", "schema is '1'"),
    ("schema", True, "schema is True"),
    ("schema", [1], "schema is"),
]


def written(folder: Path, content: Any, name: str = FACTS) -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder


def test_everything_that_was_written_is_read(tmp_path: Path) -> None:
    facts = read_facts(written(tmp_path, TOLD))
    assert facts.path == tmp_path / FACTS
    assert (facts.target, facts.inputs, facts.labels, facts.max_length) == (
        "openvino-cpu-int8",
        ("input_ids",),
        ("bad", "good"),
        64,
    )
    assert facts.integers == {"weight_bits": "7", "safe_on": "all"}
    assert facts.options == {"precision": "float32", "memory": True}
    assert facts.segment == SegmentFacts(10, {"1": 0.01, "64": 0.02})
    assert len(facts.stages) == 4


def test_the_last_accepted_stage_is_that_of_model_onnx(tmp_path: Path) -> None:
    """Not that of segment.onnx, which lies beside it and is not what is measured."""
    assert read_facts(written(tmp_path, TOLD)).last_accepted_stage["integer_ops"] == 13


@pytest.mark.parametrize(
    "content", [{}, {"stages": []}, {"stages": None}, {"stages": [{"accepted": False}]}, {"options": None}]
)
def test_what_is_not_told_is_empty(tmp_path: Path, content: Any) -> None:
    facts = read_facts(written(tmp_path, content))
    assert facts.last_accepted_stage == {}
    assert (facts.target, facts.max_length, facts.segment) == (None, None, None)


def test_a_folder_that_tells_nothing_has_no_facts(tmp_path: Path) -> None:
    assert read_facts(tmp_path) == read_facts(tmp_path / "nowhere") == Facts()


def test_a_folder_of_before_tells_the_same_under_the_old_name(tmp_path: Path) -> None:
    old = {key: value for key, value in TOLD.items() if key != "schema"}
    facts = read_facts(written(tmp_path, old, MANIFEST))
    assert facts.path == tmp_path / MANIFEST
    assert facts.target == "openvino-cpu-int8"
    assert facts.max_length == 64


@pytest.mark.parametrize("name", [FACTS, MANIFEST])
def test_measuring_finds_the_runtime_under_either_name(tmp_path: Path, name: str) -> None:
    for file in ("model.onnx", "config.json"):
        (tmp_path / file).write_text("{}")
    subject = subject_of(written(tmp_path, {"target": "openvino-cpu", "options": {"precision": "bfloat16"}}, name))
    assert (subject.kind, subject.target) == ("openvino", "openvino-cpu")
    assert settings_of(load_runtime(subject.kind), tmp_path) == {"precision": "bfloat16"}


def test_a_folder_with_the_manifest_of_transformers_alone_runs_in_onnxruntime(tmp_path: Path) -> None:
    for file in ("model.onnx", "config.json"):
        (tmp_path / file).write_text("{}")
    assert subject_of(written(tmp_path, THEIRS, MANIFEST)).target == "onnx"


def test_the_manifest_of_transformers_tells_nothing_of_ours(tmp_path: Path) -> None:
    assert read_facts(written(tmp_path, THEIRS, MANIFEST)) == Facts()


def test_of_the_two_files_ours_tells(tmp_path: Path) -> None:
    written(tmp_path, {"target": "onnxruntime-cpu"}, MANIFEST)
    assert read_facts(written(tmp_path, {"target": "tensorrt-int8"})).target == "tensorrt-int8"


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
@pytest.mark.parametrize("name", [FACTS, MANIFEST])
def test_a_value_that_cannot_be_is_refused_with_file_and_field(
    tmp_path: Path, name: str, field: str, value: Any, message: str
) -> None:
    written(tmp_path, {**TOLD, field: value}, name)
    with pytest.raises(InputError, match=message.replace("bert_compress.json", name)) as caught:
        read_facts(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_long_value_is_shown_short(tmp_path: Path) -> None:
    for value in ("x" * 200_000, ["x" * 1000] * 1000, {"x" * 200_000: 1}):
        with pytest.raises(InputError) as caught:
            read_facts(written(tmp_path, {"max_length": value}))
        assert len(str(caught.value)) < 400 + len(str(tmp_path))
    with pytest.raises(InputError, match=r"integers\.x") as caught:
        read_facts(written(tmp_path, {"integers": {"x" * 200_000: 1}}))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[1]", "\xff", "", "9" * 6000, '{"max_length": ' + "9" * 6000 + "}", "[" * 100_000])
@pytest.mark.parametrize("name", [FACTS, MANIFEST])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"(?i){name}.*restore the file"):
        read_facts(tmp_path)


def _segment_reader(folder: Path) -> Any:
    return SegmentReader(folder)


def _settings(folder: Path) -> Any:
    return settings_of(load_runtime("openvino"), folder)


def _evaluated(folder: Path) -> Any:
    return evaluate(folder, task=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [subject_of, _settings, _segment_reader, _evaluated])
@pytest.mark.parametrize(("field", "value", "message"), [row for row in WRONG if row[1] in ("x", 1, 2, "export")])
def test_every_reader_refuses_it(tmp_path: Path, read: Callable[[Path], Any], field: str, value: Any, message: str) -> None:
    for name in ("model.onnx", "config.json", "segment.onnx"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, {**TOLD, field: value}))


@pytest.mark.parametrize("value", ["x", -3, 1, True])
@pytest.mark.parametrize("name", [FACTS, MANIFEST])
def test_eval_ends_with_2_and_names_file_and_field(tmp_path: Path, name: str, value: Any) -> None:
    for file in ("model.onnx", "config.json"):
        (tmp_path / file).write_text("{}")
    written(tmp_path, {"target": "onnxruntime-cpu", "max_length": value}, name)
    ended = call("eval", str(tmp_path), "--data", "a.tsv")
    assert ended.exit_code == 2
    assert f"{name}: max_length is {value!r}" in " ".join(ended.stderr.split())
