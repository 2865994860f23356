"""Texts of a pool that are like those of a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.tasks import task
from compress.tasks.labelled import Task
from compress.tasks.split import Split
from compress.training.near_texts import NearTask, nearest, text_vectors
from compress.training.step_context import StepContext
from compress.training.unlabelled import with_texts_of
from tests.tasks.kinds import ROWS
from tests.tiny_models import toy_task

POOL = ("fine film", "a very dull plot", "the plot")


def test_the_nearest_are_those_of_the_largest_cosine() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 1.0]])
    others = np.array([[1.0, 1.0], [5.0, 0.0], [-1.0, 3.0]])
    assert nearest(vectors, others, 2).tolist() == [[1, 0], [2, 0]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    vectors, others = random.normal(size=(11, 4)), random.normal(size=(30, 4))
    whole = nearest(vectors, others, 3)
    monkeypatch.setattr("compress.training.near_texts.BLOCK", 4)
    assert (nearest(vectors, others, 3) == whole).all()


def test_a_vector_is_the_mean_of_the_last_states_without_padding(model: PreTrainedModel) -> None:
    vectors = text_vectors(Split("train", POOL, None, np.zeros(3)), 16, model, StepContext(device="cpu"))
    for text, vector in zip(POOL, vectors, strict=True):
        with torch.no_grad():
            states = model.base_model(**model.tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0].mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_vectors_are_computed_once_and_again_where_the_file_is_damaged(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, run = Split("train", POOL, None, np.zeros(3)), StepContext(device="cpu", answers=tmp_path / "answers")
    first = text_vectors(split, 16, model, run)
    (file,) = (tmp_path / "answers").glob("vectors-*.npy")
    with monkeypatch.context() as patch:
        patch.setattr("compress.training.near_texts._computed", lambda *_: pytest.fail("computed again"))
        assert (text_vectors(split, 16, model, run) == first).all()
    file.write_bytes(file.read_bytes()[:40])
    np.testing.assert_allclose(text_vectors(split, 16, model, run), first)


def test_near_texts_of_a_pool_are_taken_once_and_in_its_order(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = np.tile([[1.0, 0.0]], (len(toy.train), 1))
    others = np.array([[0.9, 0.1], [0.0, 1.0], [1.0, 0.0]])
    monkeypatch.setattr("compress.training.near_texts.text_vectors", lambda split, *_: others if split.texts == POOL else own)
    chosen = NearTask(model, 2).chosen("distill", Split("train", POOL, None, np.full(3, -1)), toy, StepContext())
    assert chosen.texts == (POOL[0], POOL[2])


@pytest.mark.parametrize(("options", "texts"), [({}, 2), ({"nearest": 1}, None), ({"beside": True}, None)])
def test_a_student_learns_from_a_pool_beside_its_task(
    model: PreTrainedModel, toy: Task, tmp_path: Path, options: dict[str, Any], texts: int | None
) -> None:
    (tmp_path / "pool.txt").write_text("a dull dull film\nfine and good plot\n", encoding="utf-8")
    run, student = StepContext(device="cpu"), drop_layers(model, keep=[0])
    pool = str(tmp_path / "pool.txt")
    distill(student, teacher=model, task=toy, objectives={"logits": 1.0}, text=pool, epochs=1, run=run, **options)
    own = len(set(toy.train.texts))
    expected = own + 2 if "beside" in options else texts or run.facts["examples"]
    assert run.facts["examples"] == expected <= own + 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nearest": 3}, "nearest is 3, but there is no text"),
        ({"beside": True}, "beside is true, but there is no text"),
        ({"nearest": 0}, "nearest is 0"),
    ],
)
def test_a_pool_has_to_be_given(model: PreTrainedModel, toy: Task, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        distill(model, teacher=model, task=toy, objectives={"logits": 1.0}, **options)


def test_an_empty_pool_and_one_of_another_shape_are_refused(model: PreTrainedModel, tmp_path: Path) -> None:
    task, pool = toy_task(), tmp_path / "pool.txt"
    pool.write_text("\n", encoding="utf-8")
    given: dict[str, Any] = {"teacher": model, "task": task, "objectives": {"logits": 1.0}, "text": str(pool)}
    with pytest.raises(InputError, match="holds no text"):
        distill(model, nearest=1, **given)
    pool.write_text("a film\n", encoding="utf-8")
    given["task"] = replace(task, **{split.role: split.paired_with("fine film") for split in task.splits()})
    with pytest.raises(InputError, match="nearest compares pairs of the task with single texts"):
        distill(model, nearest=1, **given)
    with pytest.raises(InputError, match=r"beside puts single texts of distill\.text beside pairs"):
        distill(model, beside=True, **given)


@pytest.mark.parametrize("kind", ["reranking", "sequence-to-sequence", "token-classification"])
def test_kinds_whose_rows_have_no_vector_or_more_than_texts_are_refused_by_name(
    kind: str, model: PreTrainedModel, tmp_path: Path
) -> None:
    rows = task({"train": str(ROWS[kind](tmp_path, 60))}, kind=kind, allow_unknown=True)
    refusals = {
        "nearest": lambda: NearTask(model, 1).check("distill", rows),
        "beside": lambda: with_texts_of(
            "distill", "pool.txt", rows, {"logits": 1.0}, StepContext(), written=True, beside=True
        ),
    }
    names = {"reranking": ["nearest", "beside"], "sequence-to-sequence": ["nearest"], "token-classification": ["beside"]}
    for name in names[kind]:
        with pytest.raises(InputError, match=rf"distill\.{name} .* {kind}"):
            refusals[name]()
