from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import compress as cp
from compress.errors import InputError
from compress.recipe import read_recipe_text
from compress.tasks import SYNONYMS, TASKS, evaluation_task
from tests.tasks.kinds import ROWS


def _file(folder: Path, rows: Sequence[tuple[str, str]], name: str = "train.tsv") -> str:
    path = folder / name
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return str(path)


def _rows(count: int, start: int = 0, labels: Sequence[str] = ("no", "yes")) -> list[tuple[str, str]]:
    return [(f"sentence number {index}", labels[index % len(labels)]) for index in range(start, start + count)]


def test_the_parts_are_disjoint_and_together_everything(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, _rows(400))})
    texts = [text for split in task.splits() for text in split.texts]
    assert sorted(texts) == sorted(text for text, _ in _rows(400))
    counts = [len(split) for split in task.splits()]
    assert 260 <= counts[0] <= 300
    assert 55 <= counts[3] <= 105


def test_an_evaluation_file_is_never_learned_from(tmp_path: Path) -> None:
    train, validation = _file(tmp_path, _rows(200)), _file(tmp_path, _rows(50, 1000), "dev.tsv")
    task = cp.task({"train": train, "validation": validation})
    assert set(task.evaluation.texts) == {text for text, _ in _rows(50, 1000)}
    assert task.evaluation.role == "evaluation"
    with pytest.raises(InputError, match="evaluation split was given where only train"):
        task.evaluation.require("train")


def test_a_few_examples_of_a_file_that_is_sorted_by_label_are_of_all_its_labels(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, sorted(_rows(400), key=lambda row: row[1]))})
    assert sorted(task.train.labels.tolist()) == task.train.labels.tolist()
    few = task.train.take(11)
    assert (len(few), few.role) == (11, "train")
    assert 4 <= few.labels.sum() <= 7
    assert len(set(few.texts)) == 11
    assert task.train.take(10_000).texts == task.train.texts
    assert len(task.train.pick(np.arange(0)).take(3)) == 0


def test_rows_on_both_sides_are_not_learned_from_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, validation = _file(tmp_path, _rows(200)), _file(tmp_path, [*_rows(7, 3), *_rows(50, 1000)], "dev.tsv")
    with caplog.at_level(logging.WARNING, "compress"):
        task = cp.task({"train": train, "validation": validation})
    assert "7 rows" in caplog.text
    assert task.removed == {"also in the evaluation data": 7}
    learned = {text for split in task.splits()[:3] for text in split.texts}
    assert not learned & set(task.evaluation.texts)
    assert len(learned) == 193


def test_the_order_of_the_rows_does_not_move_them_between_the_parts(tmp_path: Path) -> None:
    rows = _rows(300)
    task = cp.task({"train": _file(tmp_path, rows)})
    turned = cp.task({"train": _file(tmp_path, rows[::-1], "turned.tsv")})
    for split, other in zip(task.splits(), turned.splits(), strict=True):
        assert sorted(split.texts) == sorted(other.texts)


def test_copies_of_a_row_stay_in_one_part(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, _rows(100) * 3)})
    owners: dict[str, set[str]] = {}
    for split in task.splits():
        for text in split.texts:
            owners.setdefault(text, set()).add(split.role)
    assert all(len(roles) == 1 for roles in owners.values())


def test_a_changed_text_label_or_role_changes_the_fingerprint(tmp_path: Path) -> None:
    rows = _rows(100)
    first = cp.task({"train": _file(tmp_path, rows)}).fingerprint
    assert cp.task({"train": _file(tmp_path, rows, "again.tsv")}).fingerprint == first
    other_text = [("another sentence", "no"), *rows[1:]]
    other_label = [(rows[0][0], "yes"), *rows[1:]]
    changed = [cp.task({"train": _file(tmp_path, given, "changed.tsv")}).fingerprint for given in (other_text, other_label)]
    assert len({first, *changed}) == 3
    assert cp.task({"train": _file(tmp_path, rows)}, selection=0.3).fingerprint != first


def test_numbers_as_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, _rows(100, labels=("10", "9", "2")))})
    assert task.labels == ("2", "9", "10")


def test_given_labels_stand_for_ids_in_their_order(tmp_path: Path) -> None:
    path = _file(tmp_path, _rows(100, labels=("0", "1")))
    task = cp.task({"train": path}, labels=["negative", "positive"])
    assert task.labels == ("negative", "positive")
    for split in task.splits():
        assert split.labels.tolist() == [int(text.split()[-1]) % 2 for text in split.texts]


def test_given_labels_set_the_order_of_names(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, _rows(100))}, labels=["yes", "no"])
    assert task.labels == ("yes", "no")
    assert {int(label) for text, label in zip(task.train.texts, task.train.labels, strict=True) if int(text[16:]) % 2} == {0}


def test_fewer_rows_are_chosen_evenly_and_always_the_same(tmp_path: Path) -> None:
    path = _file(tmp_path, _rows(1000))
    task = cp.task({"train": path}, rows=200)
    chosen = [int(text[16:]) for split in task.splits() for text in split.texts]
    assert len(chosen) == 200
    assert 400 < np.mean(chosen) < 600
    assert cp.task({"train": path}, rows=200).fingerprint == task.fingerprint
    assert {len(split) > 5 for split in task.splits()} == {True}


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (_rows(100, labels=("yes",)), {}, "every row has the label 'yes'|at least two"),
        (_rows(8), {}, "has 8 rows; at least 16"),
        ([(text, text) for text, _ in _rows(100)], {}, "100 different values in 100 rows"),
        (_rows(100), {"labels": ["no", "maybe"]}, r"unknown; allowed: no, maybe[\s\S]*line 3, column 'label': 'yes'"),
        (_rows(100), {"labels": ["no"]}, "name at least two"),
        (_rows(100), {"labels": ["no", "no"]}, "each once"),
        (_rows(99, labels=("a", "b", "c")), {"metric": "f1"}, "f1 needs two labels, the data has 3"),
        (_rows(100), {"kind": "telepathy"}, "allowed: text-classification"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(
    tmp_path: Path, rows: list[tuple[str, str]], options: dict[str, object], expected: str
) -> None:
    path = _file(tmp_path, rows)
    with pytest.raises(InputError, match=expected):
        cp.task({"train": path}, **options)


def test_a_label_only_in_the_evaluation_data_is_refused_with_its_line(tmp_path: Path) -> None:
    train, validation = _file(tmp_path, _rows(100)), _file(tmp_path, [*_rows(5, 500), ("new", "perhaps")], "dev.tsv")
    with pytest.raises(InputError, match=r"dev\.tsv has labels that are unknown[\s\S]*line 7, column 'label': 'perhaps'"):
        cp.task({"train": train, "validation": validation})


def test_a_validation_file_that_is_the_training_file_leaves_nothing_to_learn_from(tmp_path: Path) -> None:
    path = _file(tmp_path, _rows(100))
    with pytest.raises(InputError, match=r"nothing is left to learn from: train and validation name the same file\. N"):
        cp.task({"train": path, "validation": path})
    turned = _file(tmp_path, _rows(100)[::-1], "dev.tsv")
    with pytest.raises(InputError, match=r"nothing is left to learn from: 100 rows of .*train\.tsv stand in .*dev\.tsv too"):
        cp.task({"train": path, "validation": turned})
    with pytest.raises(InputError, match="nothing is left to learn from"):
        cp.task({"train": path, "validation": _file(tmp_path, [*_rows(300), ("more", "no")], "all.tsv")})
    with pytest.raises(InputError, match="nothing is left to learn from"):
        cp.task({"train": path, "validation": path}, rows=50)


def test_few_rows_or_one_label_that_are_left_are_told_with_the_reason(tmp_path: Path) -> None:
    path = _file(tmp_path, _rows(100))
    with pytest.raises(InputError, match="only 5 of its 100 rows are left to learn from: 95 rows of"):
        cp.task({"train": path, "validation": _file(tmp_path, _rows(95), "dev.tsv")})
    validation = _file(tmp_path, [row for row in _rows(100) if row[1] == "yes"] + _rows(9, 500), "yes.tsv")
    with pytest.raises(InputError, match=r"every row has the label 'no'.*; the 50 other rows stand in the evaluation"):
        cp.task({"train": path, "validation": validation})


def test_rows_of_one_text_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="100 rows have only 1 different texts, which is too few to keep some apart"):
        cp.task({"train": _file(tmp_path, [("the same", label) for _, label in _rows(100)])})


@pytest.mark.parametrize("count", [1001, 3000])
def test_more_than_a_thousand_labels_work(tmp_path: Path, count: int) -> None:
    path = _file(tmp_path, _rows(3 * count, labels=[f"class {index}" for index in range(count)]))
    task = cp.task({"train": path})
    assert len(task.labels) == count
    assert sum(len(split) for split in task.splits()) == 3 * count
    numbered = cp.task({"train": _file(tmp_path, _rows(2 * count, labels=[str(index) for index in range(count)]), "n.tsv")})
    assert numbered.labels == tuple(map(str, range(count)))
    measured = evaluation_task(path, labels=task.labels)
    assert [task.labels[label] for label in measured.evaluation.labels[:3]] == ["class 0", "class 1", "class 2"]


def test_labels_of_6000_digits_and_of_other_digits_are_names(tmp_path: Path) -> None:
    for labels in (("9" * 6000, "8" * 6000), ("²", "³"), ("٣", "٢"), ("9" * 6000, "²")):
        task = cp.task({"train": _file(tmp_path, _rows(100, labels=labels))})
        assert set(task.labels) == set(labels)
    with pytest.raises(InputError, match="labels that are unknown") as raised:
        evaluation_task(_file(tmp_path, _rows(100, labels=("9" * 6000, "1"))), labels=["bad", "good"])
    assert len(str(raised.value)) < 3000


def test_one_number_in_two_spellings_is_refused_as_label(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds the labels '1' and '1\.0', one number in two spellings"):
        cp.task({"train": _file(tmp_path, _rows(90, labels=("0", "1", "1.0")))})


STARS = ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]


def test_numbers_in_a_file_are_the_names_own_numbers(tmp_path: Path) -> None:
    path = _file(tmp_path, _rows(100, labels=("1", "2", "3", "4")))
    assert evaluation_task(path, labels=STARS).evaluation.labels[:4].tolist() == [0, 1, 2, 3]
    task = cp.task({"train": path}, labels=STARS)
    assert {int(text[16:]) % 4 for text, label in zip(task.train.texts, task.train.labels, strict=True) if label == 0} == {0}


@pytest.mark.parametrize("labels", [("0", "1", "2", "3", "4"), ("0", "1")])
def test_numbers_that_may_be_ids_or_the_names_own_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    path, said = _file(tmp_path, _rows(100, labels=labels)), "not certain which name each of them stands for; write the names"
    with pytest.raises(InputError, match=said):
        evaluation_task(path, labels=STARS)
    with pytest.raises(InputError, match=said):
        cp.task({"train": path}, labels=STARS)


def test_true_and_false_are_labels_of_these_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"t {row}", "label": row % 2 == 0}) + "\n" for row in range(100)), "utf-8")
    assert cp.task({"train": str(path)}).labels == ("false", "true")
    assert evaluation_task(path, labels=["True", "False"]).evaluation.labels[:2].tolist() == [0, 1]
    with pytest.raises(InputError, match="not certain which name"):
        evaluation_task(path, labels=["spam", "ham"])


def test_names_of_packed_files_lose_all_their_endings(tmp_path: Path) -> None:
    path = tmp_path / "reviews.tsv.gz"
    path.write_bytes(gzip.compress(Path(_file(tmp_path, _rows(100))).read_bytes()))
    assert cp.task({"train": str(path)}).name == evaluation_task(path, labels=["no", "yes"]).name == "reviews"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train": 7}, "data.train is 7; give a text"),
        ({"train": "a.tsv", "text": ["x"]}, r"data.text is \['x'\]"),
        ({"train": "~no-such-user/a.tsv"}, "is no path"),
        ({"train": "x" * 100_000}, "is no path|does not exist|cannot be read"),
        ({"train": "a.tsv", "x" * 100_000: "b"}, r"unknown key 'xxx.*\(100,000 characters\)"),
    ],
)
def test_data_that_names_no_files_is_refused_briefly(data: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        cp.task(data)
    assert len(str(raised.value)) < 700


def test_unknown_keys_of_the_data_are_refused() -> None:
    with pytest.raises(InputError, match="unknown key 'test'"):
        cp.task({"train": "a.tsv", "test": "b.tsv"})
    with pytest.raises(InputError, match="names no train file"):
        cp.task({"validation": "b.tsv"})


def test_files_are_found_below_data_dir(tmp_path: Path) -> None:
    _file(tmp_path, _rows(100))
    assert len(cp.task({"train": "train.tsv"}, data_dir=str(tmp_path)).labels) == 2


def test_a_file_can_be_measured_on_alone(tmp_path: Path) -> None:
    task = evaluation_task(_file(tmp_path, _rows(6, labels=("0", "1"))), labels=["bad", "good"])
    assert [len(split) for split in task.splits()] == [0, 0, 0, 6]
    assert task.evaluation.labels.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("name", SYNONYMS)
def test_a_kind_goes_by_the_names_that_others_have_for_it(name: str, tmp_path: Path) -> None:
    assert SYNONYMS[name] in TASKS
    assert name not in TASKS
    data = {"train": str(ROWS[SYNONYMS[name]](tmp_path, 120))}
    assert cp.task(data, kind=name, allow_unknown=True).rules.name == SYNONYMS[name]
    recipe = f"model: m\ntask: {{kind: {name}, data: {data}}}\nsteps:\n  - fine_tune: {{}}\n"
    assert read_recipe_text(recipe).task["kind"] == SYNONYMS[name]
