"""Hypotheses answer as transformers' zero-shot pipeline does, and teach a classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

import compress as cp
from compress.errors import InputError
from compress.methods.distill import distill
from compress.recipe import read_recipe_text
from compress.tasks.labelled import Task
from compress.training.predict import predict
from compress.training.step_context import StepContext
from compress.training.zero_shot import zero_shot_by
from tests.tasks.kinds import ROWS
from tests.tiny_models import state_of, tiny_bert, tiny_for, toy_task

pytestmark = pytest.mark.usefixtures("exact")
ORDERS = {
    "entailment first": ("entailment", "neutral", "contradiction"),
    "contradiction first": ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
    "in the middle": ("contradiction", "entailment", "neutral"),
    "two": ("not_entailment", "entailment"),
}
TEMPLATE = "it was {}"
TWO = StepContext(device="cpu")


def saved(folder: Path, labels: tuple[str, ...], **changes: Any) -> str:
    """A random model that tells entailment."""
    return str(cp.save(tiny_bert(labels=labels, seed=11, **changes), folder / "nli"))


def several(task: Task) -> Task:
    """The same texts, of which each may have both labels."""
    marked = {split.role: replace(split, labels=np.ones((len(split), 2), dtype=np.float32)) for split in task.splits()}
    return replace(task, kind="multi-label-classification", **marked)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("multi", [False, True])
def test_the_probabilities_are_those_of_transformers_pipeline(order: str, multi: bool, tmp_path: Path) -> None:
    path, task = saved(tmp_path, ORDERS[order]), toy_task(train=6)
    task = several(task) if multi else task
    teacher = zero_shot_by("distill", path, TEMPLATE, task)
    answers = torch.from_numpy(teacher.answers(task, TWO, 0).logits)
    ours = (answers.sigmoid() if multi else answers.softmax(-1)).numpy()
    theirs = pipeline("zero-shot-classification", model=teacher.model, tokenizer=teacher.model.tokenizer, device="cpu")
    said = theirs(list(task.train.texts), list(task.labels), hypothesis_template=TEMPLATE, multi_label=multi)
    expected = [[dict(zip(row["labels"], row["scores"], strict=True))[label] for label in task.labels] for row in said]
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_neutral_is_never_taken_for_contradiction(tmp_path: Path) -> None:
    """Where the pipeline, which takes the first output, does."""
    path, task = saved(tmp_path, ("neutral", "entailment", "contradiction")), several(toy_task(train=4))
    teacher = zero_shot_by("distill", path, TEMPLATE, task)
    pairs = teacher.model.tokenizer(
        [*task.train.texts], [TEMPLATE.format("good")] * len(task.train), padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = teacher.model(**pairs).logits.numpy()
    np.testing.assert_allclose(teacher.answers(task, TWO, 0).logits[:, 1], logits[:, 1] - logits[:, 2], rtol=1e-4, atol=1e-6)


def test_hypotheses_by_label_are_answered_in_the_labels_order(tmp_path: Path) -> None:
    path, task = saved(tmp_path, ORDERS["two"]), toy_task(train=6)
    by_name = {"good": "it was good", "bad": "it was bad"}
    answers = [zero_shot_by("distill", path, given, task).answers(task, TWO, 0).logits for given in (TEMPLATE, by_name)]
    np.testing.assert_array_equal(*answers)


def test_a_long_text_is_cut_and_its_hypothesis_is_not(tmp_path: Path) -> None:
    task = toy_task(train=2)
    task = replace(task, train=replace(task.train, texts=("good film " * 40, "bad")), max_length=400)
    teacher = zero_shot_by("distill", saved(tmp_path, ORDERS["two"]), TEMPLATE, task)
    whole = teacher.model.tokenizer(
        ["good film " * 40], ["it was good"], truncation="only_first", max_length=24, return_tensors="pt"
    )
    with torch.no_grad():
        expected = teacher.model(**whole).logits[0, 1].item()
    assert teacher.answers(task, TWO, 0).logits[0, 1] == pytest.approx(expected, rel=1e-4)


def test_answers_to_a_hypothesis_are_kept_for_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, task = saved(tmp_path, ORDERS["two"]), toy_task(train=6)
    run = StepContext(device="cpu", answers=tmp_path / "answers")
    teacher = zero_shot_by("distill", path, {"good": "it was good", "bad": "it was bad"}, task)
    first = teacher.answers(task, run, 1 << 20).logits
    assert len([*(tmp_path / "answers").iterdir()]) == 2
    changed = zero_shot_by("distill", path, {"good": "it was good", "bad": "it was dull"}, task)
    second = changed.answers(task, run, 1 << 20).logits
    assert len([*(tmp_path / "answers").iterdir()]) == 3
    np.testing.assert_array_equal(first[:, 1], second[:, 1])
    assert (first[:, 0] != second[:, 0]).all()
    np.testing.assert_allclose(first, teacher.answers(task, TWO, 0).logits, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("from_file", [False, True])
def test_a_student_learns_to_answer_as_the_hypotheses_do(from_file: bool, tmp_path: Path) -> None:
    """Whether from the task's texts, whose labels play no part, or from a file of texts."""
    task, path = toy_task(train=60), saved(tmp_path, ORDERS["entailment first"])
    plain = tmp_path / "plain.txt"
    plain.write_text("\n".join(f"{text} number{row}" for row, text in enumerate(task.train.texts)) + "\n", encoding="utf-8")
    options: dict[str, Any] = {"text": str(plain)} if from_file else {}
    options |= {"nli": path, "hypotheses": TEMPLATE, "objectives": {"logits": 1.0}, "temperature": 1.0, "epochs": 6}
    student = tiny_bert(seed=4, initializer_range=0.05)
    run: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 10, "run": StepContext(device="cpu")}
    learned = distill(student, task=task, **run, **options)
    wanted = torch.from_numpy(zero_shot_by("distill", path, TEMPLATE, task).answers(task, TWO, 0).logits).softmax(-1)
    encoded = task.encode(task.train, student.tokenizer)
    before, after = (torch.from_numpy(predict(model, encoded)).softmax(-1) for model in (student, learned))
    assert (after - wanted).abs().mean() < 0.6 * (before - wanted).abs().mean()


def test_the_labels_of_the_texts_play_no_part(tmp_path: Path) -> None:
    task, path = toy_task(), saved(tmp_path, ORDERS["two"])
    other = replace(task, train=replace(task.train, labels=1 - task.train.labels))
    options: dict[str, Any] = {"nli": path, "hypotheses": TEMPLATE, "objectives": {"logits": 1.0}, "epochs": 1}
    first, second = (
        state_of(distill(tiny_bert(), task=given, batch_size=20, run=StepContext(device="cpu"), **options))
        for given in (task, other)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hypotheses": {"good": "it was good"}}, "has none for bad; give one sentence for each label: bad, good"),
        ({"hypotheses": {"good": "a", "bad": "b", "fine": "c"}}, "names fine; give one sentence for each label"),
        ({"hypotheses": {"good": "a", "bad": "  "}}, r"hypotheses\.bad is empty"),
        ({"hypotheses": "it was good"}, r"a template has {} once"),
        ({"hypotheses": "{} and {}"}, r"a template has {} once"),
        ({"hypotheses": "very " * 20 + "{}"}, "has 21 tokens, but nli reads 24 with the text; write a shorter one"),
        ({"objectives": {"hidden": 1.0}}, "names 'hidden', which looks into a teacher, but of nli there are answers alone"),
        ({"objectives": {"masked_words": 1.0}}, "names 'masked_words', which looks into a teacher"),
        ({"hypotheses": None}, "hypotheses is missing, which nli answers"),
        ({"nli": None}, "hypotheses is given, but no nli"),
        ({"nli": None, "hypotheses": None}, "teacher is missing, and so is nli; give one of the two"),
        ({"teacher": tiny_bert(seed=8)}, "teacher and nli are both given"),
    ],
)
def test_what_cannot_teach_is_refused_before_any_work(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    options = {"nli": saved(tmp_path, ORDERS["two"]), "hypotheses": TEMPLATE, "objectives": {"logits": 1.0}, **given}
    with pytest.raises(InputError, match=said):
        distill(tiny_bert(), task=toy_task(), run=StepContext(device="cpu", rehearsal=True), **options)


@pytest.mark.parametrize(
    "labels",
    [("LABEL_0", "LABEL_1", "LABEL_2"), ("yes", "no"), ("entailment", "neutral"), ("entailment", "entailed", "contradiction")],
)
def test_a_model_whose_labels_do_not_tell_entailment_is_refused_with_them(labels: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"which has the labels {', '.join(labels)}; one label has to begin with entail"):
        zero_shot_by("distill", saved(tmp_path, labels), TEMPLATE, toy_task())


@pytest.mark.parametrize("kind", ["token-classification", "regression", "question-answering"])
def test_kinds_without_labels_of_texts_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=24, allow_unknown=True)
    with pytest.raises(InputError, match=f"a task of {kind} has none; leave them and nli out"):
        distill(tiny_for(read), task=read, nli="x", hypotheses=TEMPLATE, objectives={"logits": 1.0})


def test_pairs_are_refused(tmp_path: Path) -> None:
    task = toy_task()
    task = replace(task, train=task.train.paired_with("a film"))
    with pytest.raises(InputError, match="about one text each, but the task has pairs"):
        zero_shot_by("distill", saved(tmp_path, ORDERS["two"]), TEMPLATE, task)


def test_a_recipe_names_both_or_a_teacher() -> None:
    text = "model: a\ntask: sst2\nsteps:\n  - distill: {nli: b, objectives: {logits: 1.0}}\n"
    with pytest.raises(InputError, match=r":4: .*distill\.hypotheses: .*missing|hypotheses is missing"):
        read_recipe_text(text)
    plan = read_recipe_text(text.replace("nli: b", 'nli: b, hypotheses: {positive: "it is good", negative: "it is bad"}'))
    assert json.loads(json.dumps(plan.steps[0].arguments["hypotheses"])) == {"positive": "it is good", "negative": "it is bad"}
