"""Answering none: how the threshold is chosen, what is scored, and that texts out of scope are never learned from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress as cp
from compress.benchmark.measurement import evaluate
from compress.errors import InputError
from compress.facts import read_facts
from compress.pipeline import RunOptions, run
from compress.recipe import read_recipe_text
from compress.tasks import evaluation_task
from compress.tasks.abstaining import FAR, NONE, abstained, abstaining, area_under_risk
from compress.tasks.kind import load_kind
from compress.tasks.labelled import Task
from tests.cli.calling import call
from tests.tasks.kinds import ROWS
from tests.tiny_models import tiny_bert

P = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.52])
"""The largest probabilities of ten texts, of which the first label is always the likeliest."""
LOGITS = np.stack([np.log(P / (1 - P)), np.zeros(10)], axis=1).astype(np.float32)
RIGHT = np.array([0, 0, 0, 1, 0, 0, 1, 0, 1, 1])
"""Labels: wrong are the fourth, the seventh, the ninth and the tenth."""
SCOPED = np.array([0, 0, 0, NONE, 0, 1, NONE, 0, NONE, NONE])
"""Labels: out of scope are the fourth, the seventh, the ninth and the tenth; wrong is the sixth."""


def threshold(targets: np.ndarray, **options: Any) -> float:
    (chosen,) = abstaining(options).settle(LOGITS, targets)
    return chosen


@pytest.mark.parametrize(("coverage", "answered"), [(0.1, 1), (0.5, 5), (0.51, 6), (0.9, 9), (1.0, 10)])
def test_as_many_texts_are_answered_as_the_coverage_asks_for(coverage: float, answered: int) -> None:
    assert int((threshold(RIGHT, coverage=coverage) <= P).sum()) == answered


def test_a_coverage_is_of_the_texts_in_scope() -> None:
    """Of six in scope, five are the first, the second, the third, the fifth and the sixth."""
    assert threshold(SCOPED, coverage=5 / 6, label="oos") == pytest.approx((0.7 + 0.65) / 2)


@pytest.mark.parametrize(("max_risk", "answered"), [(0.0, 3), (0.16, 3), (0.17, 6), (0.26, 8), (0.4, 10), (1.0, 10)])
def test_as_many_are_answered_as_the_risk_allows(max_risk: float, answered: int) -> None:
    """Wrong of the first so many: 0 of 3, 1 of 4, 5 and 6, 2 of 7 and 8, 3 of 9, 4 of 10."""
    assert int((threshold(RIGHT, max_risk=max_risk) <= P).sum()) == answered


def test_answering_a_text_out_of_scope_is_a_mistake() -> None:
    """Wrong of the first so many: 0 of 3, 1 of 5, 2 of 6."""
    assert int((threshold(SCOPED, max_risk=0.2, label="oos") <= P).sum()) == 5


def test_a_risk_that_cannot_be_had_is_told_and_the_smallest_taken(caplog: pytest.LogCaptureFixture) -> None:
    wrong_first = np.where(np.arange(10) == 0, 1, 0)
    assert int((threshold(wrong_first, max_risk=0.05) <= P).sum()) == 10
    assert "no threshold has a risk of at most 0.05 on the selection part; that of the smallest, 0.1, is taken" in caplog.text


def test_without_either_the_fewest_mistakes_decide() -> None:
    """After three answers all four out of scope are right to be left out; two more right answers cost one of these."""
    assert int((threshold(SCOPED, label="oos") <= P).sum()) == 3


def test_texts_that_are_as_sure_are_answered_together() -> None:
    logits = LOGITS.copy()
    logits[2:6] = logits[2]
    (chosen,) = abstaining({"coverage": 0.4}).settle(logits, RIGHT)
    answered = ~abstained(abstaining({"coverage": 0.4}).settled(logits, (chosen,), RIGHT))
    assert answered.tolist() == [True] * 6 + [False] * 4


def test_what_is_settled_has_the_same_probabilities_and_no_answer_below() -> None:
    rules = abstaining({"coverage": 0.5})
    settled = rules.settled(LOGITS, (0.72,), RIGHT)
    assert abstained(settled).tolist() == [False] * 5 + [True] * 5
    np.testing.assert_allclose(settled[:, 0] - settled[:, 1], LOGITS[:, 0] - LOGITS[:, 1], atol=1e-9)
    assert settled[9].max() < -FAR / 2
    assert rules.settled(LOGITS, (), RIGHT) is LOGITS


def test_scores_tell_of_all_texts_in_scope_and_of_those_that_are_answered() -> None:
    rules = abstaining({"label": "oos"})
    scores = rules.score(rules.settled(LOGITS, (0.72,), SCOPED), SCOPED, "accuracy")
    assert scores == {
        "accuracy": 5 / 6,
        "coverage": 4 / 6,
        "selective_accuracy": 4 / 5,
        "out_of_scope_recall": 3 / 4,
        "aurc": pytest.approx(np.mean([0, 0, 0, 1 / 4, 1 / 5, 2 / 6, 3 / 7, 3 / 8, 4 / 9, 5 / 10])),
    }
    judged = rules.judge(rules.settled(LOGITS, (0.72,), SCOPED), SCOPED, "accuracy")
    assert judged["metrics"] == scores
    assert list(judged["metrics_ci95"]) == ["accuracy", "coverage", "selective_accuracy", "out_of_scope_recall"]
    assert "out_of_scope_recall" not in abstaining({"coverage": 1.0}).score(LOGITS, RIGHT, "accuracy")


def test_the_area_does_not_depend_on_the_order_of_texts_that_are_as_sure() -> None:
    right = np.array([True, False, True, True])
    expected = np.mean([1 / 2, 1 / 2, 1 / 3, 1 / 4])  # of two that are as sure, one is right
    for order in ([0, 1, 2, 3], [1, 0, 2, 3]):
        assert area_under_risk(np.array([0.9, 0.9, 0.8, 0.7]), right[order]) == pytest.approx(expected)


def test_labels_have_the_scores_of_what_is_answered() -> None:
    rules = abstaining({"label": "oos"})
    counts = rules.by_class(rules.settled(LOGITS, (0.72,), SCOPED), SCOPED, ("a", "b")).sum(0)
    assert counts.tolist() == [[4, 5, 5], [0, 0, 1]]
    assert rules.confusion(rules.settled(LOGITS, (0.72,), SCOPED), SCOPED, 2) == [[4, 0], [0, 0]]


def test_a_drop_is_of_all_texts_in_scope_and_agreement_of_what_is_said() -> None:
    rules = abstaining({"label": "oos"})
    before, after = rules.settled(LOGITS, (0.72,), SCOPED), rules.settled(LOGITS[:, ::-1].copy(), (0.87,), SCOPED)
    compared = rules.compare(before, after, SCOPED, "accuracy")
    assert compared["drop"]["value"] == pytest.approx(5 / 6 - 1 / 6)
    assert compared["agreement"] == 0.5  # five say nothing in both


def rows_with_others(folder: Path, count: int = 240) -> Path:
    """Sentences that are good or bad, every sixth of which is called out of scope."""
    path = ROWS["text-classification"](folder, count)
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [re.sub(r"\t\w+$", "\toos", line) if row % 6 == 5 else line for row, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
    return path


def read(folder: Path, **options: Any) -> Task:
    given = {"max_length": 24, "allow_unknown": True, "abstain": {"label": "oos"}, **options}
    return cp.task({"train": str(rows_with_others(folder))}, **given)


def test_texts_out_of_scope_are_measured_and_chosen_by_and_never_learned_from(tmp_path: Path) -> None:
    task = read(tmp_path)
    assert task.labels == ("bad", "good")
    outside = {split.role: int((split.labels == NONE).sum()) for split in task.splits()}
    assert outside["train"] == outside["calibration"] == 0
    assert outside["selection"] > 0
    assert outside["evaluation"] > 0
    described = task.describe()
    assert described["abstain"] == {"label": "oos"}
    assert described["splits"]["evaluation"]["out_of_scope"] == outside["evaluation"]
    assert sum(described["splits"]["evaluation"]["per_label"]) + outside["evaluation"] == len(task.evaluation)
    other = read(tmp_path, abstain={"label": "oos", "coverage": 0.9})
    assert other.fingerprint != task.fingerprint


@pytest.mark.parametrize(
    ("abstain", "said"),
    [
        ({}, "task.abstain is .*allowed: coverage"),
        ({"coverage": 0.9, "max_risk": 0.1}, "task.abstain is .*allowed: coverage"),
        ({"coverage": 0.0}, "allowed: coverage"),
        ({"coverage": 1.5}, "allowed: coverage"),
        ({"max_risk": -0.1}, "allowed: coverage"),
        ({"max_risk": True}, "allowed: coverage"),
        ({"coverage": "0.9"}, "allowed: coverage"),
        ({"label": " "}, "allowed: coverage"),
        ({"label": 3}, "allowed: coverage"),
        ({"risk": 0.1}, "unknown key 'risk'; allowed: coverage, max_risk, label"),
        ({"label": "nobody"}, "task.abstain.label is 'nobody', but no row of the selection part"),
    ],
)
def test_options_that_cannot_be_are_refused(abstain: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, abstain=abstain)


def test_the_label_of_texts_out_of_scope_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels name 'oos', which task\.abstain says is no label"):
        read(tmp_path, labels=["bad", "good", "oos"])


def test_probabilities_have_no_label_that_is_out_of_scope(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"a film {row}", "label": {"a": row % 2, "b": 1 - row % 2}} for row in range(120)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"task\.abstain\.label needs labels, but .* has probabilities of them"):
        cp.task({"train": str(path)}, abstain={"label": "oos"})
    assert cp.task({"train": str(path)}, abstain={"coverage": 0.9}).labels == ("a", "b")


def test_rows_that_are_all_out_of_scope_measure_nothing(tmp_path: Path) -> None:
    path = tmp_path / "others.tsv"
    path.write_text("text\tlabel\n" + "".join(f"text {row}\toos\n" for row in range(9)), encoding="utf-8")
    with pytest.raises(InputError, match="every row to measure on is out of scope"):
        evaluation_task(path, labels=["bad", "good"], abstain={"label": "oos"})


@pytest.mark.parametrize("kind", ["multi-label-classification", "token-classification", "regression", "question-answering"])
def test_kinds_that_always_answer_refuse_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"which {kind} does not; leave it out"):
        cp.task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, abstain={"coverage": 0.9})


@pytest.mark.parametrize(
    ("abstain", "said"),
    [
        ("{coverage: 2}", "task.abstain.coverage: 2 is not allowed"),
        ("{cover: 0.9}", "task.abstain"),
        ("0.9", "task.abstain: 0.9 is not allowed"),
    ],
)
def test_a_recipe_is_refused_with_its_line(abstain: str, said: str) -> None:
    text = f"model: a\ntask:\n  data: sst2\n  abstain: {abstain}\nsteps: [fine_tune]\n"
    with pytest.raises(InputError) as refused:
        read_recipe_text(text)
    assert f":4: {said}" in str(refused.value)


def test_a_model_is_measured_with_a_threshold_of_its_own(tmp_path: Path) -> None:
    task = read(tmp_path, abstain={"label": "oos", "coverage": 0.5})
    scores = evaluate(tiny_bert(), task=task)
    assert 0.3 < scores["metrics"]["coverage"] < 0.7
    forced = evaluate(tiny_bert(), task=replace(task, abstain={"label": "oos", "coverage": 1.0}))
    assert forced["metrics"]["coverage"] == 1.0
    assert forced["metrics"]["accuracy"] == scores["metrics"]["accuracy"]
    assert forced["reliability"] == scores["reliability"]


RECIPE = """
name: tiny
model: any
task: {{data: {{train: {path}}}, max_length: 24, abstain: {{label: oos, coverage: 0.8}}}}
steps:
  - fine_tune: {{epochs: 1, batch_size: 16}}
export:
  - onnxruntime-cpu: {{}}
"""


@pytest.mark.slow
def test_a_file_ships_its_threshold_and_eval_and_the_card_use_it(tmp_path: Path) -> None:
    path, out = rows_with_others(tmp_path), tmp_path / "out"
    record = run(read_recipe_text(RECIPE.format(path=path)), RunOptions(out=out, device="cpu", tiny=True))
    facts = read_facts(out / "export" / "onnxruntime-cpu")
    assert facts.abstain == {"label": "oos", "coverage": 0.8}
    assert 0.5 <= facts.settled[0] <= 1
    shipped = record["subjects"][-1]
    assert list(shipped["metrics"])[:2] == ["accuracy", "coverage"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "or answers none of them" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    ended = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True)
    assert set(re.findall(r"'(\w+)'", ended.stdout)) <= {"bad", "good", "none"}
    said = call("eval", str(out / "export" / "onnxruntime-cpu"), "--data", str(path), "--allow-unknown", "--json")
    scores = json.loads(said.stdout)
    assert scores["metrics"].keys() == shipped["metrics"].keys()
    assert scores["metrics"]["coverage"] < 1.0


def test_the_kind_without_it_answers_always() -> None:
    assert not load_kind("text-classification").settles(None)  # type: ignore[arg-type]
