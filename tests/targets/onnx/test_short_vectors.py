"""An embedder's file gives its vectors in bytes and in bits too, which are those that an index would make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import compress as cp
from compress.errors import InputError
from compress.facts import FACTS, MANIFEST
from compress.models.embedder import pooling_of, set_pooling
from compress.runtimes.table import load_runtime
from compress.targets.refusing import refuse_shape
from compress.tasks.compared_vectors import as_kept, cosines, directions
from tests.tasks.kinds import ROWS
from tests.tiers import mostly_matrix
from tests.tiny_models import LONGEST, tiny_bert, tiny_for, toy_task

pytestmark = pytest.mark.slow
BOTH = ["int8", "binary"]
LOOSE: dict[str, Any] = {"max_flips": 1.0, "max_relative_error": 3.0}  # of random weights
TARGETS: dict[str, dict[str, Any]] = {
    "onnxruntime-cpu": {},
    "onnxruntime-cpu-int8": LOOSE,
    "openvino-cpu": {"precision": "float32"},
    "openvino-cpu-int8": LOOSE,
}


def embeds(folder: Path, width: int = 16) -> tuple[Any, Any]:
    """A task of pairs, and a random embedder for it."""
    rows = ROWS["sentence-embedding"](folder, 400)
    task = cp.task({"train": str(rows)}, kind="sentence-embedding", max_length=LONGEST, allow_unknown=True)
    return task, tiny_for(task, width=width)


def given(folder: Path, task: Any, model: Any) -> dict[str, np.ndarray]:
    """All that a file gives for the evaluation part, by name."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    encoded = task.encode(task.evaluation, model.tokenizer)
    batch = encoded.batch(list(range(len(encoded))))
    return dict(zip(names, session.run(names, {item.name: batch[item.name] for item in session.get_inputs()}), strict=True))


@pytest.mark.parametrize("target", mostly_matrix(TARGETS, always=["onnxruntime-cpu"]))
def test_a_file_gives_bytes_and_bits_of_its_vectors(target: str, tmp_path: Path) -> None:
    task, model = embeds(tmp_path)
    shipped = cp.export(model, tmp_path / "out", target=target, task=task, vectors=BOTH, **TARGETS[target])
    answers = given(shipped.path, task, model)
    vectors = directions(answers["sentence_embedding"])
    facts = json.loads((shipped.path / FACTS).read_text(encoding="utf-8"))
    short = facts["short_vectors"]
    assert "short_vectors" not in facts["integers"]
    assert [short[name]["output"] for name in BOTH] == ["sentence_embedding_int8", "sentence_embedding_binary"]
    assert answers["sentence_embedding_int8"].dtype == np.int8
    assert answers["sentence_embedding_binary"].dtype == np.uint8
    np.testing.assert_array_equal(answers["sentence_embedding_binary"], np.packbits(vectors > 0, axis=1))
    low, step = np.array(short["int8"]["low"]), np.array(short["int8"]["step"])
    back = (answers["sentence_embedding_int8"].astype(float) + 128) * step + low
    np.testing.assert_allclose(back, np.clip(vectors, low, low + 255 * step), atol=step.max() * 0.51)
    assert cosines(back, vectors).min() > 0.99
    assert cosines(back, as_kept(vectors, "int8")).min() > 0.99


@pytest.mark.parametrize("normalize", [True, False])
def test_other_widths_and_lengths_are_as_numpy_packs_them(normalize: bool, tmp_path: Path) -> None:
    """Twelve numbers are a byte and a half."""
    task, model = embeds(tmp_path, width=12)
    set_pooling(model.config, pooling_of(model.config))
    model.config.embedder["normalize"] = normalize
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=task, vectors=BOTH)
    answers = given(shipped.path, task, model)
    vectors = answers["sentence_embedding"]
    assert (np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-5).all() == normalize
    assert answers["sentence_embedding_binary"].shape == (len(vectors), 2)
    np.testing.assert_array_equal(answers["sentence_embedding_binary"], np.packbits(vectors > 0, axis=1))
    short = json.loads((shipped.path / FACTS).read_text(encoding="utf-8"))["short_vectors"]["int8"]
    back = (answers["sentence_embedding_int8"].astype(float) + 128) * short["step"] + short["low"]
    assert cosines(back, vectors).min() > 0.99


def test_one_kind_is_enough_and_what_reads_the_file_reads_its_floats(tmp_path: Path) -> None:
    task, model = embeds(tmp_path)
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=task, vectors=["binary"])
    answers = given(shipped.path, task, model)
    assert list(answers) == ["last_hidden_state", "sentence_embedding", "sentence_embedding_binary"]
    assert not (shipped.path / MANIFEST).exists(), "transformers would take the last output for the vectors"
    session = load_runtime("onnx").open(shipped.path / "model.onnx")
    encoded = task.encode(task.evaluation, model.tokenizer)
    logits = session.run(encoded.batch(list(range(len(encoded)))))["logits"]
    np.testing.assert_array_equal(logits, answers["sentence_embedding"])


def test_a_file_without_them_is_as_it_was(tmp_path: Path) -> None:
    task, model = embeds(tmp_path)
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=task)
    assert list(given(shipped.path, task, model)) == ["last_hidden_state", "sentence_embedding"]
    assert "short_vectors" not in json.loads((shipped.path / FACTS).read_text(encoding="utf-8"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_classifier_has_no_vectors(target: str, tmp_path: Path) -> None:
    model, said = tiny_bert(), r"vectors is \['int8'\], but the model answers with bad, good; remove it"
    with pytest.raises(InputError, match=said):
        cp.export(model, tmp_path / "out", target=target, task=toy_task(), vectors=["int8"])
    with pytest.raises(InputError, match=said):
        refuse_shape(target, {"vectors": ["int8"]}, model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("vectors", [[], ["int4"], "int8"])
def test_what_is_no_kind_of_vector_is_refused(vectors: Any, tmp_path: Path) -> None:
    task, model = embeds(tmp_path)
    with pytest.raises(InputError, match="vectors"):
        cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=task, vectors=vectors)
