"""Pairs that are made of a task's own for a teacher to answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

from compress.augmentation.pairs import PairOptions, check_pairs, with_pairs
from compress.errors import InputError, NoEffect
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.tasks import TASKS, task
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.tasks.kinds import ROWS
from tests.tiny_models import differences, state_of, toy_task

FIRSTS = ("the film was good", "a plot and a film", "it was dull")
SECONDS = ("fine film", "bad plot", "very very dull")


@pytest.fixture
def paired() -> Task:
    """Three pairs to learn from, and others to select and measure on."""
    task = toy_task()
    pairs = {split.role: split.paired_with("fine film") for split in task.splits()}
    train = replace(pairs["train"], texts=FIRSTS, pairs=SECONDS, labels=np.array([0, 1, 1]))
    return replace(task, **{**pairs, "train": train})


def rows(task: Task) -> list[tuple[str, str]]:
    """The pairs that are learned from."""
    assert task.train.pairs is not None
    return list(zip(task.train.texts, task.train.pairs, strict=True))


def test_swapped_pairs_stand_behind_the_others_with_their_labels(paired: Task, model: PreTrainedModel) -> None:
    more = with_pairs(paired, {"swap": True}, model, StepContext())
    assert rows(more) == [*zip(FIRSTS, SECONDS, strict=True), *zip(SECONDS, FIRSTS, strict=True)]
    assert more.train.labels.tolist() == [0, 1, 1, 0, 1, 1]


def test_shuffled_pairs_are_new_ones_of_the_same_texts_without_labels(paired: Task, model: PreTrainedModel) -> None:
    made = [rows(with_pairs(paired, {"shuffled": 4}, model, StepContext(seed=seed))) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert len(set(made[0])) == len(made[0]) > 3
    assert {first for first, _ in made[0]} == set(FIRSTS)
    assert {second for _, second in made[0]} == set(SECONDS)
    assert set(with_pairs(paired, {"shuffled": 4}, model, StepContext()).train.labels.tolist()) == {-1}


def test_a_near_second_text_takes_its_place(paired: Task, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"fine film": [1.0, 0.0], "bad plot": [0.9, 0.1], "very very dull": [0.2, 1.0]}
    monkeypatch.setattr(
        "compress.augmentation.pairs.text_vectors", lambda split, *_: np.array([vectors[text] for text in split.texts])
    )
    more = with_pairs(paired, {"near": 1}, model, StepContext())
    # the nearest to (1, 0) is (0.9, 0.1), to this (1, 0), and to (0.2, 1) it is (0.9, 0.1)
    assert rows(more)[3:] == [(FIRSTS[0], "bad plot"), (FIRSTS[1], "fine film"), (FIRSTS[2], "bad plot")]


def test_nothing_new_is_an_error(paired: Task, model: PreTrainedModel) -> None:
    alike = replace(paired, train=replace(paired.train, texts=("a film",), pairs=("a film",), labels=np.array([0])))
    with pytest.raises(NoEffect, match="every pair that can be made stands in the training part"):
        with_pairs(alike, {"swap": True, "shuffled": 1, "near": 1}, model, StepContext())


def test_a_student_learns_from_them(paired: Task, model: PreTrainedModel) -> None:
    student = drop_layers(model, keep=[0])
    plain, more = (
        distill(student, teacher=model, task=paired, objectives={"logits": 1.0}, epochs=1, batch_size=2, **options)
        for options in ({}, {"pairs": {"swap": True, "shuffled": 1, "near": 1}})
    )
    assert differences(state_of(plain), state_of(more))


@pytest.mark.parametrize(
    ("options", "objectives", "said"),
    [
        ({}, {"logits": 1.0}, "asks for nothing"),
        ({"swap": False}, {"logits": 1.0}, "asks for nothing"),
        ({"shuffled": 1}, {"logits": 1.0, "labels": 0.1}, "pairs.shuffled makes pairs without labels, but .* names 'labels'"),
        ({"near": 1}, {"labels": 1.0}, "pairs.near makes pairs without labels"),
    ],
)
def test_what_has_no_labels_is_not_learned_from_labels(
    paired: Task, options: PairOptions, objectives: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        check_pairs("distill", options, paired, objectives)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": {"swap": True}}, "makes pairs of two texts, but the task has examples of one text"),
        ({"pairs": {"swop": True}}, "swop"),
        ({"pairs": {"near": 0}}, "pairs.near is 0"),
    ],
)
def test_a_task_without_pairs_and_unknown_keys_are_refused(
    toy: Task, model: PreTrainedModel, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        distill(model, teacher=model, task=toy, objectives={"logits": 1.0}, **options)


@pytest.mark.parametrize("kind", TASKS)
def test_kinds_that_judge_no_pair_as_such_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    unpaired = task({"train": str(ROWS[kind](tmp_path, 60))}, kind=kind, allow_unknown=True)
    with pytest.raises(InputError, match=f"one text|of {kind} does not judge pairs as such"):
        check_pairs("distill", {"swap": True}, unpaired, {"logits": 1.0})
