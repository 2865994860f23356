"""The examples on which baseline and shipped file differ, and what they are filtered by."""

from __future__ import annotations

from typing import Any

import pytest

from compress.reporting.differing import MOST_CHARACTERS, MOST_EXAMPLES, example_filters, example_rows

DASH = "\u2013"


@pytest.mark.parametrize("label", [1, "yes"])
def test_an_example_shows_what_each_model_says_and_who_is_right(label: Any) -> None:
    extras = {
        "labels": ["no", "yes"],
        "differing": [{"text": "t", "pair": "p", "label": label, "teacher": [0.1, 0.9], "student": [0.625, 0.375]}],
    }
    (row,) = example_rows([({}, extras)])
    teacher, student = row["answers"]
    assert (row["text"], row["pair"], row["label"]) == ("t", "p", "yes")
    assert teacher == {"who": "teacher", "label": "yes", "percent": "90 %", "share": 0.9, "verdict": "right"}
    assert student == {"who": "student", "label": "no", "percent": "62 %", "share": 0.625, "verdict": "wrong"}


def test_an_example_without_label_or_answers_is_shown() -> None:
    (row,) = example_rows([({}, {"differing": [{"text": "t"}]})])
    assert (row["label"], row["pair"]) == (DASH, "")
    assert [answer["verdict"] for answer in row["answers"]] == ["", ""]


def test_entities_are_marked_in_the_text() -> None:
    spans = {"label": [(0, 3, "PER", "right")], "teacher": [(0, 3, "PER", "right")], "student": [(4, 9, "LOC", "wrong")]}
    example = {"text": "Ann lives", "label": "PER: Ann", "teacher": "PER: Ann", "student": "LOC: lives", "spans": spans}
    (row,) = example_rows([({}, {"differing": [example]})])
    assert [part["who"] for part in row["marked"]] == ["true", "teacher", "student"]
    assert row["marked"][0]["parts"] == [
        {"text": "Ann", "kind": "PER", "verdict": ""},
        {"text": " lives", "kind": "", "verdict": ""},
    ]
    assert row["marked"][2]["parts"] == [
        {"text": "Ann ", "kind": "", "verdict": ""},
        {"text": "lives", "kind": "LOC", "verdict": "wrong"},
    ]
    assert all("".join(part["text"] for part in marked["parts"]) == "Ann lives" for marked in row["marked"])


@pytest.mark.parametrize(
    ("teacher", "student", "right"),
    [
        ([0.9, 0.1], [0.1, 0.9], "baseline"),
        ([0.1, 0.9], [0.9, 0.1], "shipped"),
        ([0.9, 0.1], [0.6, 0.4], "both"),
        ([0.1, 0.9], [0.4, 0.6], "neither"),
        ("a text", [0.4, 0.6], ""),
    ],
)
def test_who_is_right_is_told_where_it_is_known(teacher: Any, student: Any, right: str) -> None:
    example = {"text": "t", "label": 0, "teacher": teacher, "student": student}
    (row,) = example_rows([({}, {"labels": ["no", "yes"], "differing": [example]})])
    assert (row["right"], row["labels"]) == (right, ["no"])


def test_of_entities_an_answer_is_right_where_all_are_and_none_is_missed() -> None:
    label = [[0, 3, "PER", "right"]]
    spans = {"label": label, "teacher": label, "student": [[0, 3, "PER", "missed"], [4, 9, "LOC", "wrong"]]}
    (row,) = example_rows([({}, {"differing": [{"text": "Ann lives", "spans": spans}]})])
    assert (row["right"], row["labels"]) == ("baseline", ["PER", "LOC"])


def test_filters_offer_what_there_is_a_choice_of() -> None:
    labels = ["no", "yes"]
    examples = [
        {"label": label, "teacher": [0.9, 0.1], "student": [0.2, 0.8]} for label in (0, 1)
    ]  # the baseline is right about the first, the shipped file about the second
    rows = example_rows([({}, {"labels": labels, "differing": examples}), ({}, {})])
    offered = example_filters(rows, ["one", "two"])
    assert [option["value"] for option in offered["label"]] == ["no", "yes"]
    assert [option["value"] for option in offered["right"]] == ["baseline", "shipped"]
    assert offered["run"] == []  # the second has no examples


def test_runs_share_the_examples_of_a_page_and_long_texts_are_cut() -> None:
    many = {"differing": [{"text": "x" * 5000}] * MOST_EXAMPLES}
    rows = example_rows([({}, many), ({}, many)])
    assert len(rows) == MOST_EXAMPLES
    assert {row["run"] for row in rows} == {0, 1}
    assert {len(row["text"]) for row in rows} == {MOST_CHARACTERS}
