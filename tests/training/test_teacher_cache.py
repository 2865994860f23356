"""A teacher reads each training example once, and what it answered is found again, whole."""

from __future__ import annotations

import json
import logging
import shutil
from collections import namedtuple
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.log import no_progress
from compress.models.states import State
from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers, answered
from compress.training.predict import on_device
from compress.training.teacher_cache import known_answers
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import tiny_bert, toy_task

EVERY: tuple[State, ...] = (("hidden", 0), ("hidden", 2), ("first", 1), ("query", 1), ("value", 2), ("scores", 2))


def answers(
    teacher: PreTrainedModel, task: Task, folder: Path, wanted: Collection[State] = EVERY, limit_bytes: int = 10**9
) -> KnownAnswers | None:
    encoded = task.encode(task.train, teacher.tokenizer)
    return known_answers(
        teacher, encoded, wanted, folder=folder, limit_bytes=limit_bytes, device="cpu", bf16=False, progress=no_progress
    )


def files(folder: Path) -> dict[str, int]:
    """The arrays and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix == "" and path.is_file()}


def test_stored_answers_are_those_of_the_live_teacher_up_to_float16(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    known = answers(model, toy, tmp_path)
    assert known is not None
    encoded = toy.encode(toy.train, model.tokenizer)
    indices = np.array([7, 0, 39, 12])
    inputs = on_device(encoded.batch(indices), "cpu")
    outputs = known.outputs(indices, inputs)
    logits, states = answered(model, inputs, EVERY)
    torch.testing.assert_close(outputs.logits, logits)
    assert outputs.states.keys() == set(EVERY)
    mask = inputs["attention_mask"].bool()
    for (kind, layer), state in states.items():
        own = outputs.states[kind, layer]
        assert own.shape == state.shape
        if kind == "scores":
            valid = (mask[:, None, :, None] & mask[:, None, None]).expand_as(state)
        else:
            valid = torch.ones_like(state, dtype=torch.bool) if kind == "first" else mask[..., None].expand_as(state)
        torch.testing.assert_close(own.float()[valid], state[valid], rtol=2e-3, atol=1e-3)
        assert (own[~valid] == 0).all()


def test_a_second_call_reads_what_the_first_one_wrote(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    first = answers(model, toy, tmp_path)
    before = files(tmp_path)
    again = answers(model, toy, tmp_path)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.logits, again.logits)
    after = files(tmp_path)
    assert {name: after[name] for name in before if name != "lock"} == {n: t for n, t in before.items() if n != "lock"}
    assert after.keys() == before.keys()


def test_another_set_of_layers_joins_the_same_folder(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    answers(model, toy, tmp_path, [("hidden", 1)])
    before = files(tmp_path)
    answers(model, toy, tmp_path, [("hidden", 1), ("hidden", 2)])
    after = files(tmp_path)
    assert after.keys() - before.keys() == {"hidden_2"}
    assert {name: after[name] for name in before if name != "lock"} == {n: t for n, t in before.items() if n != "lock"}
    assert len(list(tmp_path.iterdir())) == 1


def test_another_teacher_or_other_texts_have_a_folder_of_their_own(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    other = toy_task(train=39)
    for teacher, task in ((model, toy), (tiny_bert(seed=8), toy), (model, other)):
        answers(teacher, task, tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "bits", "note"])
def test_a_torn_file_is_noticed_and_made_again(
    model: PreTrainedModel, toy: Task, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers(model, toy, tmp_path, [("hidden", 1)])
    (path,) = tmp_path.rglob("hidden_1")
    whole = path.read_bytes()
    if damage == "note":
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(whole[:-100] if damage == "cut" else bytes([whole[0] ^ 1]) + whole[1:])
    with caplog.at_level(logging.WARNING):
        answers(model, toy, tmp_path, [("hidden", 1)])
    assert path.read_bytes() == whole
    assert ("torn or damaged" in caplog.text) is (damage != "note")


@pytest.mark.parametrize("note", ["", "{", "[]", "null", "[" * 10**5])
def test_a_note_that_cannot_be_read_is_told_and_the_teacher_answers_again(
    model: PreTrainedModel, toy: Task, tmp_path: Path, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers(model, toy, tmp_path, [("hidden", 1)])
    (path,) = tmp_path.rglob("hidden_1.json")
    whole = path.read_bytes()
    path.write_text(note)
    answers(model, toy, tmp_path, [("hidden", 1)])
    assert path.read_bytes() == whole
    assert "torn or damaged" in caplog.text


def test_a_link_in_the_place_of_answers_is_not_written_through(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    answers(model, toy, tmp_path / "cache", [("hidden", 1)])
    (path,) = (tmp_path / "cache").rglob("hidden_1")
    (tmp_path / "mine").write_text("mine")
    for link in (path, path.with_suffix(".partial")):
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "mine")
    answers(model, toy, tmp_path / "cache", [("hidden", 1)])
    assert (tmp_path / "mine").read_text() == "mine"
    assert not path.is_symlink()


def test_a_lock_of_answers_that_is_a_folder_is_refused(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    answers(model, toy, tmp_path, [])
    (lock,) = tmp_path.rglob("lock")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(InputError, match="is a folder, but a lock"):
        answers(model, toy, tmp_path, [])


def test_the_size_is_told_before_anything_is_written_and_held_against_the_limit(
    model: PreTrainedModel, toy: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Float16 of 16 numbers per token, and float32 of two logits per sentence."""
    tokens = int(toy.encode(toy.train, model.tokenizer).lengths.sum())
    size = tokens * 16 * 2 + 40 * 2 * 4
    with caplog.at_level(logging.INFO):
        assert answers(model, toy, tmp_path, [("hidden", 1)], limit_bytes=size - 1) is None
    assert "more than the 0.00 GB that are kept at most" in caplog.text
    assert not list(tmp_path.iterdir())
    assert answers(model, toy, tmp_path, [("hidden", 1)], limit_bytes=size) is not None


def test_a_disk_without_room_is_an_error_that_says_what_to_do(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage: Any = namedtuple("usage", "total used free")(100, 90, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"but the disk of .* has 0\.00 GB free; free some .*teacher_cache_bytes to 0"):
        answers(model, toy, tmp_path)
    assert not list(tmp_path.rglob("hidden*"))


def test_a_whole_cache_needs_no_teacher(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    """But for its answer to the shortest sentence, which tells the shapes."""
    answers(model, toy, tmp_path)
    notes = {path.name: json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    assert set(notes) == {"logits.json", *(f"{kind}_{layer}.json" for kind, layer in EVERY)}
    forbid_forward_passes(model)
    with pytest.raises(pytest.fail.Exception):
        answers(model, toy, tmp_path / "elsewhere")
