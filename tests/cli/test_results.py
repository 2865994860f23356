"""What the commands found, as tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from compress.cli.results import matrix_csv, run_text, scores_text
from tests.cli.calling import EXAMPLES


def test_the_closing_table_tells_every_subject_of_a_run() -> None:
    run = json.loads((EXAMPLES / "example_run.json").read_text("utf-8"))
    lines = run_text(run).splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(run["subjects"])]] == [
        subject["name"] for subject in run["subjects"]
    ]
    assert lines[-1].startswith("batch 1, length 32, 1 thread;")


def test_the_closing_table_ends_with_the_scores_on_further_rows_where_there_are_some() -> None:
    run = json.loads((EXAMPLES / "example_run.json").read_text("utf-8"))
    for subject in run["subjects"]:
        subject["further"] = {"examples": 2805, "metrics": {"accuracy": 0.871}}
    last = run_text(run).splitlines()[-1]
    assert last.startswith("accuracy on 2,805 further rows: teacher 87.1 %, ")
    assert last.count("87.1 %") == len(run["subjects"])


def test_a_run_without_subjects_has_an_empty_table() -> None:
    assert len(run_text({"subjects": []}).splitlines()) == 1


def test_scores_come_with_interval_and_confusion() -> None:
    scores = {
        "name": "int8",
        "metrics": {"accuracy": 0.75},
        "metrics_ci95": {"accuracy": [0.5, 0.9]},
        "labels": ["no", "yes"],
        "confusion": [[2, 1], [0, 1]],
    }
    lines = scores_text(scores).splitlines()
    assert lines[1].split() == ["accuracy", "75.0", "%", "50.0", "to", "90.0", "%"]
    assert lines[-2].split() == ["no", "2", "1"]


def _thousand() -> dict[str, Any]:
    """Label i is found but for i times in a thousand, when label 0 is answered; the last one has no example."""
    count = 1000
    confusion = [[0] * count for _ in range(count)]
    for label in range(count - 1):
        confusion[label][label] = 1000 - label
        confusion[label][0] += label
    return {
        "name": "int8",
        "metrics": {"accuracy": 0.5},
        "metrics_ci95": {"accuracy": [0.4, 0.6]},
        "confusion": confusion,
        "labels": [f"label {index}, a \u201cname\u201d" for index in range(count)],
    }


def test_scores_of_a_thousand_labels_are_a_short_text_of_the_worst_ones() -> None:
    lines = scores_text(_thousand()).splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) < 160
    least = next(index for index, line in enumerate(lines) if line.startswith("found least, of 1,000 labels"))
    assert lines[least + 1].split()[:2] == ["label", "998,"]
    assert "0.2 %" in lines[least + 1]
    assert "labels without an example here: 1" in lines
    pairs = next(index for index, line in enumerate(lines) if line.startswith("confused most"))
    assert lines[pairs + 1].split()[-1] == "998"


def test_a_long_label_does_not_fill_the_table() -> None:
    scores = {
        "name": "int8",
        "metrics": {"f1": 1.0},
        "metrics_ci95": {},
        "labels": ["x" * 200_000, "yes"],
        "confusion": [[2, 0], [0, 1]],
    }
    assert len(scores_text(scores)) < 1000


def test_a_model_that_is_always_right_confuses_nothing() -> None:
    scores = {
        "name": "int8",
        "metrics": {"accuracy": 1.0},
        "metrics_ci95": {},
        "labels": [str(index) for index in range(20)],
        "confusion": [[int(row == column) for column in range(20)] for row in range(20)],
    }
    assert "no label is taken for another" in scores_text(scores)


def test_the_whole_matrix_can_be_had_as_csv() -> None:
    scores = _thousand()
    head, *rows = csv.reader(io.StringIO(matrix_csv(scores)))
    assert head[1:] == scores["labels"]
    assert [row[0] for row in rows] == scores["labels"]
    assert [[int(cell) for cell in row[1:]] for row in rows] == scores["confusion"]
