"""Sequence-level distillation: the teacher's texts are learned in the place of the data's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.errors import InputError
from compress.training import teacher_texts
from compress.training.predict import predict
from compress.training.step_context import StepContext
from compress.training.teacher_texts import taught_texts
from tests.tiny_models import differences, state_of, tiny_bert, toy_task
from tests.written_texts import tiny_writer, writing_task

pytestmark = pytest.mark.usefixtures("exact")
KNOBS: dict[str, Any] = {"epochs": 1, "batch_size": 16}


def test_the_training_texts_are_the_teacher_s_and_no_others() -> None:
    task, teacher = writing_task(), tiny_writer(seed=8)
    before = state_of(teacher)
    taught = taught_texts(task, teacher, 3, StepContext(device="cpu"))
    encoded = task.encode(task.train, teacher.tokenizer)
    assert taught.train.labels.tolist() == encoded.labels.said(predict(teacher, encoded, beams=3))
    assert taught.train.texts == task.train.texts
    assert taught.selection is task.selection
    assert not differences(before, state_of(teacher))


def test_what_a_teacher_has_written_is_kept_for_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, teacher = writing_task(), tiny_writer(seed=8)
    run = StepContext(device="cpu", answers=tmp_path / "answers")
    first = taught_texts(task, teacher, 2, run).train.labels.tolist()
    (kept,) = (tmp_path / "answers").glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8")) == first
    calls: list[int] = []
    monkeypatch.setattr(teacher_texts, "predict", lambda *_, **how: calls.append(how["beams"]) or predict(*_, **how))
    assert taught_texts(task, teacher, 2, run).train.labels.tolist() == first
    assert calls == []
    taught_texts(task, teacher, 1, run)
    taught_texts(task, tiny_writer(seed=9), 2, run)
    assert calls == [1, 2]
    kept.write_text("[1]", encoding="utf-8")
    assert taught_texts(task, teacher, 2, run).train.labels.tolist() == first


def test_a_student_learns_what_the_teacher_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    task, teacher, student = writing_task(), tiny_writer(seed=8), tiny_writer(seed=9, layers=1)
    learned: list[list[str]] = []
    monkeypatch.setattr(
        "compress.methods.distill.trained", lambda model, *, task, **_: learned.append(task.train.labels.tolist()) or model
    )
    run = StepContext(device="cpu")
    cp.distill(student, teacher=teacher, task=task, objectives={"labels": 1.0}, targets="teacher", beams=2, run=run, **KNOBS)
    cp.distill(student, teacher=teacher, task=task, objectives={"logits": 1.0}, run=run, **KNOBS)
    assert learned == [taught_texts(task, teacher, 2, run).train.labels.tolist(), task.train.labels.tolist()]


def test_texts_without_others_to_write_are_learned_as_the_teacher_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text("\n".join(f"the plot was good and the film {word}" for word in ("fine", "bad", "dull")), encoding="utf-8")
    task, teacher, student = writing_task(), tiny_writer(seed=8), tiny_writer(seed=9)
    how: dict[str, Any] = {"objectives": {"logits": 0.5, "labels": 0.5}, "text": str(path), "run": StepContext(device="cpu")}
    taught = cp.distill(student, teacher=teacher, task=task, targets="teacher", beams=1, **how, **KNOBS)
    assert differences(state_of(student), state_of(taught))
    with pytest.raises(InputError, match=r"objectives names 'labels', but distill.text has none"):
        cp.distill(student, teacher=teacher, task=task, **how, **KNOBS)
    how["objectives"] = {"logits": 1.0}
    with pytest.raises(InputError, match=r"distill.text has no texts to write; let the teacher write them"):
        cp.distill(student, teacher=teacher, task=task, **how, **KNOBS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"beams": 3}, "beams is 3, but targets is data; set it to teacher"),
        ({"targets": "student"}, "targets"),
        ({"targets": "teacher", "beams": 0}, "beams"),
        ({"augment": {"kind": "masking"}}, "augment puts other words into texts, which calls for other texts to write"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cp.distill(tiny_writer(), teacher=tiny_writer(), task=writing_task(), objectives={"logits": 1.0}, **arguments)


def test_where_nothing_is_written_there_are_no_texts_of_the_teacher() -> None:
    with pytest.raises(InputError, match="targets is 'teacher', but a model for text-classification writes no texts"):
        cp.distill(tiny_bert(), teacher=tiny_bert(), task=toy_task(), objectives={"logits": 1.0}, targets="teacher")


def test_a_teacher_with_another_vocabulary_is_refused() -> None:
    task = writing_task()
    with pytest.raises(InputError, match="student and teacher have different vocabularies"):
        cp.distill(tiny_writer(), teacher=tiny_writer(vocabulary=270), task=task, objectives={"logits": 1.0}, **KNOBS)
