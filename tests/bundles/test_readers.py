"""Who reads a bundle is told by what each reader looks for; and no snippet stands without a reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.bundles.readers import NOT_IN_JAVASCRIPT, READERS, Reader, readers_of
from compress.bundles.snippets import FOLDER, PIPELINES
from compress.bundles.variants import FP32, QUANTIZED, VARIANTS
from compress.models.families import KNOWN
from tests.bundles.answers import READ
from tests.bundles.runs import task_options
from tests.pages import PAGES
from tests.tiny_models import tiny_for, tiny_of, toy_task

GUIDE = PAGES["docs/guides/ship.md"]
ALL = {variant.file for variant in VARIANTS.values()}


def _readers(model: Any, task: Any, files: set[str] = ALL, why: str | None = None) -> dict[str, Reader]:
    readers = readers_of(model, task, files, why, has_manifest=FP32 in files)
    return {reader.name: reader for reader in readers}


def _of_kind(kind: str, folder: Path) -> dict[str, Reader]:
    task = cp.task(**task_options(kind, folder))
    return _readers(tiny_for(task), task)


def test_each_reader_is_there_once() -> None:
    names = [known.name for known in READERS]
    assert len(set(names)) == len(names)
    assert {known.example for known in READERS} - {""} <= VARIANTS.keys()


def test_families_that_javascript_lacks_are_families_of_ours() -> None:
    assert set().union(*NOT_IN_JAVASCRIPT.values()) <= KNOWN.keys()
    assert NOT_IN_JAVASCRIPT.keys() == PIPELINES.keys()


@pytest.mark.parametrize("kind", READ)
def test_a_bert_of_every_kind_is_read_by_those_who_have_its_head(tmp_path: Path, kind: str) -> None:
    by_name = _of_kind(kind, tmp_path)
    always = {"Transformers.js", "onnxruntime", "onnxruntime-web", "OpenVINO", "transformers", "optimum-onnx", "Triton"}
    assert {name for name in always if by_name[name].why_not} == set()
    of_texts = {"text-classification", "multi-label-classification", "regression", "reranking", "sentence-embedding"}
    assert (by_name["infinity"].why_not is None) == (kind in of_texts)
    assert (by_name["text-embeddings-inference"].why_not is None) == (kind in of_texts - {"multi-label-classification"})
    for name in ("sentence-transformers", "fastembed"):
        assert (by_name[name].why_not is None) == (kind in ("reranking", "sentence-embedding"))


def test_a_family_that_javascript_lacks_is_named_with_what_runs_its_files() -> None:
    task = toy_task()
    why_not = _readers(tiny_of("ernie"), task)["Transformers.js"].why_not
    assert why_not == "it has no class for a ernie with this head; onnxruntime-web runs the same files"
    assert _readers(tiny_of("bert"), task)["Transformers.js"].why_not is None


def test_a_student_without_an_encoder_is_read_by_runtimes_alone() -> None:
    task = toy_task()
    student = cp.build_student(tiny_of("bert"), task=task, kind="static", embedding=8)
    by_name = _readers(student, task, why="transformers has no class for it")
    assert {name for name, reader in by_name.items() if reader.why_not is None} == {
        "onnxruntime",
        "onnxruntime-web",
        "OpenVINO",
        "Triton",
    } | ({"transformers ExportedModel"} if by_name["transformers ExportedModel"].why_not is None else set())
    assert "has no class" in str(by_name["Transformers.js"].why_not)


def test_weights_that_transformers_does_not_read_leave_the_graphs_to_others() -> None:
    by_name = _readers(tiny_of("bert"), toy_task(), why="its shapes are others")
    assert by_name["transformers"].why_not == "its shapes are others"
    assert by_name["Transformers.js"].why_not is None
    assert by_name["infinity"].why_not == "its shapes are others"


def test_what_is_left_out_is_missed_by_those_who_look_for_it() -> None:
    by_name = _readers(tiny_of("bert"), toy_task(), {VARIANTS["q4"].file})
    missing = f"it looks for {FP32}, which is left out"
    assert by_name["text-embeddings-inference"].why_not == missing
    assert by_name["Triton"].why_not == missing
    assert by_name["Transformers.js"].why_not == f"it looks for {FP32} or {QUANTIZED}, which is left out"
    assert by_name["onnxruntime"].why_not is None
    assert by_name["OpenVINO"].why_not is not None


@pytest.mark.parametrize("kind", READ)
def test_snippets_are_of_the_head_and_name_the_bundle(tmp_path: Path, kind: str) -> None:
    by_name = _of_kind(kind, tmp_path)
    for name in ("Transformers.js", "transformers", "optimum-onnx", "text-embeddings-inference"):
        assert FOLDER in by_name[name].snippet
    python = by_name["transformers"].snippet.removeprefix("```python\n").removesuffix("```")
    compile(python, kind, "exec")
    compile(by_name["fastembed"].snippet.removeprefix("```python\n").removesuffix("```"), kind, "exec")
    pair = kind in ("reranking", "question-answering", "regression")
    assert ("pipeline(" in by_name["Transformers.js"].snippet) == (
        kind not in ("reranking", "regression", "sentence-embedding")
    )
    assert pair or "text_pair" not in by_name["Transformers.js"].snippet


def test_the_guide_shows_the_snippets_of_the_card(tmp_path: Path) -> None:
    """Of a classifier of texts; and of an embedder of 384 numbers for those who read these alone."""
    shown = {block.replace("```py\n", "```python\n") for block in re.findall(r"```(?:js|py)\n.*?```", GUIDE, re.DOTALL)}
    classifier, embedder = (_of_kind(kind, tmp_path) for kind in ("text-classification", "sentence-embedding"))
    names = ("Transformers.js", "transformers", "transformers ExportedModel", "optimum-onnx")
    of_embedders = [embedder[name].snippet for name in ("sentence-transformers", "fastembed")]
    expected = {classifier[name].snippet for name in names} | {text.replace("dim=16", "dim=384") for text in of_embedders}
    assert shown == expected
