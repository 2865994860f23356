"""Runtimes are found by name, and told what an exported folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.facts import FACTS, Facts
from compress.runtimes.table import is_exported, load_runtime, module_of, settings_of


def test_onnxruntime_is_what_run_json_calls_onnx() -> None:
    assert load_runtime("onnxruntime") is load_runtime("onnx")
    assert load_runtime("onnx").title == "onnxruntime"


def test_an_unknown_runtime_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"runtime 'tvm' is unknown; allowed: torch, onnx, openvino.* install the package"):
        module_of("tvm")


@pytest.mark.parametrize(("kind", "exported"), [("torch", False), ("onnx", True), ("of another package", True), (None, False)])
def test_every_kind_but_the_trained_model_is_an_exported_file(kind: object, exported: bool) -> None:
    assert is_exported(kind) is exported


def test_a_runtime_is_told_its_own_options_alone() -> None:
    facts = Facts(options={"precision": "float32", "memory": True})
    assert settings_of(load_runtime("openvino"), facts) == {"precision": "float32"}
    assert settings_of(load_runtime("openvino"), Facts(options={"memory": True})) == {}
    assert settings_of(load_runtime("onnx"), facts) == {}


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "None"), ("float16", "'float16'"), (["float32"], r"\['float32'\]"), ("", "''"), (32, "32")]
)
def test_an_option_that_cannot_be_is_refused_with_file_and_field(tmp_path: Path, value: Any, shown: str) -> None:
    (tmp_path / FACTS).write_text(json.dumps({"schema": 1, "options": {"precision": value}}))
    allowed = rf"{FACTS}: precision is {shown}; allowed: auto, float32, bfloat16\. Restore the file, or export the model again"
    with pytest.raises(InputError, match=allowed):
        settings_of(load_runtime("openvino"), tmp_path)


def test_a_runtime_without_options_is_told_nothing_but_of_a_damaged_folder(tmp_path: Path) -> None:
    assert settings_of(load_runtime("onnx"), tmp_path) == {}
    (tmp_path / FACTS).write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        settings_of(load_runtime("onnx"), tmp_path)
