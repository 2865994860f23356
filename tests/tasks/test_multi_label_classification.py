"""Several labels a text: how they are read, what is learned, where a label stands, how it is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from compress.errors import InputError
from compress.tasks import task
from compress.tasks.multi_label_classification import KIND, _threshold

TRUE = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=np.float32)


def written(folder: Path, cells: list[Any], ending: str = "jsonl") -> dict[str, str]:
    """A file of 40 rows whose labels come from these cells in turn."""
    rows = [(f"text number {index}", cells[index % len(cells)]) for index in range(40)]
    if ending == "jsonl":
        lines = [json.dumps({"text": text, "labels": labels}) for text, labels in rows]
    else:
        lines = ["text\tlabels", *(f"{text}\t{labels}" for text, labels in rows)]
    path = folder / f"rows.{ending}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"train": str(path)}


@pytest.mark.parametrize(
    ("cells", "ending"),
    [
        ([["joy"], ["joy", "love"], ["love"]], "jsonl"),
        (["joy", "joy|love", "love"], "tsv"),
        (["joy", "joy, love", "love"], "tsv"),
        (["joy", "joy; love ", "love"], "jsonl"),
        (['["joy"]', '["joy", "love"]', '["love"]'], "tsv"),
    ],
)
def test_labels_are_lists_or_texts_that_are_parted(cells: list[Any], ending: str, tmp_path: Path) -> None:
    read = task(written(tmp_path, cells, ending), kind=KIND.name)
    assert read.labels == ("joy", "love")
    expected = {0: [1, 0], 1: [1, 1], 2: [0, 1]}
    for text, marks in zip(read.train.texts, read.train.labels, strict=True):
        assert marks.tolist() == expected[int(text.split()[-1]) % 3]


def test_a_mark_that_does_not_come_first_stays_in_the_name(tmp_path: Path) -> None:
    assert task(written(tmp_path, ["a,b|c", "c"], "tsv"), kind=KIND.name).labels == ("a,b", "c")


def test_a_row_may_have_no_label_and_one_twice_counts_once(tmp_path: Path) -> None:
    read = task(written(tmp_path, [[], ["joy", "joy"], ["love"]]), kind=KIND.name)
    assert set(map(tuple, read.train.labels.tolist())) == {(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)}


def test_numbers_are_ids_where_the_names_are_given(tmp_path: Path) -> None:
    read = task(written(tmp_path, [[0], [0, 1], [1]]), kind=KIND.name, labels=["joy", "love"])
    assert read.labels == ("joy", "love")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([["joy"], {"joy": 1}], "is no list of labels"),
        ([["joy"], [["love"]]], "is no list of labels"),
        ([["joy"], [None]], "is no list of labels"),
        ([["joy"], "[broken"], "is no list of labels"),
        ([["joy"], True], "is no list of labels"),
        ([["joy", "love"]], "every row has the answer 'joy, love'; at least two answers are needed"),
    ],
)
def test_what_is_no_labels_is_refused_with_its_row(cells: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        task(written(tmp_path, cells), kind=KIND.name)


def test_labels_that_were_not_named_are_refused_with_their_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels that are unknown; allowed: joy, hate[\s\S]*line 2, column 'labels': 'love'"):
        task(written(tmp_path, [["joy"], ["love"]]), kind=KIND.name, labels=["joy", "hate"])


def test_a_metric_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="judged by micro_f1 or macro_f1"):
        task(written(tmp_path, [["joy"], ["love"]]), kind=KIND.name, metric="accuracy")


def test_scores_are_those_of_scikit_learn() -> None:
    answers = np.array([[2, -1, -3], [1, 2, -1], [3, -1, 2], [-1, -1, -1]], dtype=np.float32)
    scores = KIND.score(answers, TRUE, "micro_f1")
    assert scores["micro_f1"] == pytest.approx(f1_score(TRUE, answers > 0, average="micro"))
    assert scores["macro_f1"] == pytest.approx(f1_score(TRUE, answers > 0, average="macro", zero_division=0))
    assert next(iter(KIND.score(answers, TRUE, "macro_f1"))) == "macro_f1"


def test_a_drop_is_the_difference_with_an_interval_around_it() -> None:
    random = np.random.default_rng(3)
    targets = (random.random((300, 4)) < 0.3).astype(np.float32)
    good = targets * 4 - 2 + random.normal(0, 1.0, targets.shape)
    worse = targets * 4 - 2 + random.normal(0, 3.0, targets.shape)
    comparison = KIND.compare(good, worse, targets, "micro_f1")
    expected = f1_score(targets, good > 0, average="micro") - f1_score(targets, worse > 0, average="micro")
    assert comparison["drop"]["value"] == pytest.approx(expected)
    low, high = comparison["drop"]["ci95"]
    assert 0 < low < expected < high
    assert comparison["agreement"] == pytest.approx(((good > 0) == (worse > 0)).all(axis=1).mean())
    same = KIND.compare(good, good, targets, "macro_f1")
    assert (same["drop"]["value"], same["drop"]["ci95"], same["agreement"]) == (0.0, [0.0, 0.0], 1.0)


def test_the_loss_and_the_divergence_by_hand() -> None:
    outputs, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    expected = (np.log(2) + np.log1p(np.exp(2.0))) / 2
    assert KIND.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-6)
    teacher = torch.tensor([[1.0, -1.0]])
    p, q = 1 / (1 + np.exp(-np.array([0.5, -0.5]))), 1 / (1 + np.exp(-np.array([0.0, 1.0])))  # both at temperature 2
    by_hand = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    divergence = KIND.divergence(outputs, teacher, torch.ones(1, 1), 2.0)
    assert divergence.item() == pytest.approx(by_hand, rel=1e-5)


def test_a_threshold_gives_its_label_the_best_f1_and_stands_between_two_answers() -> None:
    random = np.random.default_rng(5)
    true = (random.random(200) < 0.2).astype(np.float32)
    logits = (true * 1.5 - 2.5 + random.normal(0, 1.0, 200)).astype(np.float32)
    threshold = _threshold(logits, true)
    at = np.log(threshold / (1 - threshold))
    best = max(f1_score(true, logits >= logit) for logit in logits)
    assert f1_score(true, logits > at) == pytest.approx(best)
    assert abs(logits - at).min() > 1e-6
    moved = KIND.settled(logits[:, None], [threshold], None)
    assert ((moved[:, 0] > 0) == (logits > at)).all()


def test_rare_labels_keep_one_half_and_nothing_chosen_moves_nothing() -> None:
    answers = np.array([[3.0], [-1.0], [2.0]], dtype=np.float32)
    assert KIND.settle(answers, np.array([[1], [0], [0]], dtype=np.float32)) == (0.5,)
    assert KIND.settle(answers[:0], np.zeros((0, 1), dtype=np.float32)) == (0.5,)
    assert (KIND.settled(answers, (0.5,), None) == answers).all()
    assert KIND.settled(answers, (), None) is answers


def test_a_model_that_knows_nothing_is_refused_unless_it_is_trained() -> None:
    targets = np.tile(TRUE, (20, 1))
    backwards = np.where(targets > 0, -1.0, 1.0)
    with pytest.raises(InputError, match="no better than chance"):
        KIND.check_answers(backwards, targets, ("a", "b", "c"), trains=False)
    KIND.check_answers(backwards, targets, ("a", "b", "c"), trains=True)
    KIND.check_answers(-backwards, targets, ("a", "b", "c"), trains=False)


def test_a_flip_is_a_label_that_comes_or_goes() -> None:
    logits = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    assert KIND.flips(logits, logits * [[2, 1], [1, -1], [1, 1]]).tolist() == [False, True, False]
    assert KIND.relative_error(logits, logits) == 0.0
