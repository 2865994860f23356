"""The report's rows: gates, steps, confusion, differing examples, data and machine."""

from __future__ import annotations

from typing import Any

import pytest

from compress.reporting.details import MOST_CLASSES, confusion_tables, facts_of, gate_rows, label_rows

DASH = "\u2013"


@pytest.mark.parametrize(
    ("name", "limit", "value", "shown"),
    [
        ("max_drop", 0.02, 0.0183, ("at most", "2.00 points", "1.83 points")),
        ("min_speedup", 4.0, 7.94, ("at least", "4.0\u00d7", "7.9\u00d7")),
        ("max_p95_ms", 5, 1.234, ("at most", "5.00 ms", "1.23 ms")),
        ("max_size_bytes", 15_000_000, 17_620_000, ("at most", "15.0 MB", "17.6 MB")),
        ("min_accuracy", 0.9, 0.8991, ("at least", "90.0 %", "89.9 %")),
        ("min_recall (EMAIL)", 0.98, 0.9712, ("at least", "98.0 %", "97.1 %")),
    ],
)
def test_a_gate_is_told_in_the_unit_of_its_name(name: str, limit: float, value: float, shown: tuple[str, ...]) -> None:
    (row,) = gate_rows({"gates": [{"name": name, "limit": limit, "value": value, "passed": False}]})
    assert (row["bound"], row["limit"], row["value"]) == shown
    assert row["passed"] is False


def test_a_gate_without_a_value_shows_a_dash() -> None:
    (row,) = gate_rows({"gates": [{"name": "max_drop", "passed": True}]})
    assert (row["limit"], row["value"], row["passed"]) == (DASH, DASH, True)


def test_a_cell_of_a_confusion_tells_its_part_of_the_row() -> None:
    (table,) = confusion_tables({}, {"confusion": {"a": [[3, 1], [0, 1000]]}, "labels": ["no", "yes"]})
    assert table["labels"] == ["no", "yes"]
    assert [[cell["share"] for cell in row["cells"]] for row in table["rows"]] == [[0.75, 0.25], [0.0, 1.0]]
    assert [[cell["is_right"] for cell in row["cells"]] for row in table["rows"]] == [[True, False], [False, True]]
    assert table["rows"][1]["cells"][1]["count"] == "1,000"


def test_a_label_without_examples_divides_nothing() -> None:
    (table,) = confusion_tables({}, {"confusion": {"a": [[0, 0], [0, 1]]}})
    assert table["rows"][0]["cells"][0]["share"] == 0.0
    assert table["labels"] == ["label 0", "label 1"]


def test_confusions_stand_in_the_order_of_the_flow_and_take_the_labels_of_the_data() -> None:
    run = {"subjects": [{"name": "first"}, {"name": "second"}], "data": {"labels": ["no", "yes"]}}
    matrix = [[1, 0], [0, 1]]
    tables = confusion_tables(run, {"confusion": {"other": matrix, "second": matrix, "first": matrix}})
    assert [table["name"] for table in tables] == ["first", "second", "other"]
    assert tables[0]["labels"] == ["no", "yes"]


def test_many_labels_are_told_by_their_largest_confusions() -> None:
    matrix = [[9 if true == said else 0 for said in range(20)] for true in range(20)]
    matrix[3][7], matrix[5][1] = 2, 4
    (table,) = confusion_tables({}, {"confusion": {"a": matrix}})
    assert table["rows"] == []
    assert table["worst"] == [(4, "label 5", "label 1"), (2, "label 3", "label 7")]


def test_the_facts_tell_run_data_and_machine() -> None:
    run = {
        "seconds": 65,
        "commit": None,
        "recipe": {"seed": 0, "model": "m"},
        "versions": {"torch": "2", "onnx": "1"},
        "data": {
            "name": "d",
            "licence": None,
            "removed": {},
            "labels": ["no", "yes"],
            "splits": {"train": {"examples": 1500, "per_label": [600, 900], "mean_words": 9.44}},
        },
        "machine": {"cpu": "c", "flags": ["avx2", "fma"], "memory_bytes": 16e9, "gpu": None},
    }
    facts = facts_of(run)
    assert facts["Run"] == [("took", "1 min 05 s"), ("seed", "0"), ("model", "m")]
    assert facts["Data"] == [
        ("name", "d"),
        ("labels", "no, yes"),
        ("train", "1,500 examples (no 600, yes 900), 9.4 words on average"),
    ]
    assert ("instruction sets", "avx2, fma") in facts["Machine"]
    assert ("GPU", "none") in facts["Machine"]
    assert ("memory", "16.0 GB") in facts["Machine"]
    assert facts["Versions"] == [("onnx", "1"), ("torch", "2")]


def test_an_empty_run_has_no_facts() -> None:
    assert not any(facts_of({}).values())


def class_scores(recall: float | None, f1: float = 0.5) -> dict[str, Any]:
    ends = None if recall is None else [recall - 0.1, recall + 0.1]
    return {"recall": recall, "precision": 0.25, "f1": f1, "ci95": {"recall": ends}, "support": 1200}


def test_each_label_is_told_of_the_baseline_and_of_what_is_shipped() -> None:
    run = {
        "subjects": [
            {"name": "teacher", "by_label": {"EMAIL": class_scores(0.9), "NAME": class_scores(0.8)}},
            {"name": "between", "by_label": {}},
            {"name": "int8", "by_label": {"EMAIL": class_scores(0.85), "NAME": class_scores(None)}},
        ]
    }
    first, second = label_rows(run)
    assert first == {
        "name": "EMAIL",
        "support": "1,200",
        "cells": ["90.0 %", "85.0 %", "25.0 %", "25.0 %", "50.0 %", "50.0 %"],
        "interval": "75.0 to 95.0",
    }
    assert second["cells"][1] == second["interval"] == DASH
    assert label_rows({"subjects": [{"name": "old"}]}) == []


def test_of_many_labels_those_are_told_that_lose_most() -> None:
    names = [f"label {number}" for number in range(MOST_CLASSES + 5)]
    before = {name: class_scores(0.9, 0.9) for name in names}
    after = {name: class_scores(0.9, 0.9 - number / 100) for number, name in enumerate(names)}
    rows = label_rows({"subjects": [{"by_label": before}, {"by_label": after}]})
    assert len(rows) == MOST_CLASSES
    assert rows[0]["name"] == names[-1]
