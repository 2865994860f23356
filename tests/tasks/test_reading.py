from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import compress as cp
from compress.errors import InputError
from compress.tasks import evaluation_task


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
    for one, other in zip(task.splits(), turned.splits(), strict=True):
        assert sorted(one.texts) == sorted(other.texts)


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
