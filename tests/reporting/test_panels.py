"""The front of a page of one or several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.reporting.panels import MOST_NAMED, front_view, rows_of
from compress.reporting.report import Shown, render_page
from tests.reporting import results

MOST_BYTES = 3_000_000


def run(**changes: Any) -> dict[str, Any]:
    """A run of two subjects."""
    subjects = [results.subject("teacher", [1, 1, 1, 0]), results.subject("onnxruntime-cpu", [1, 1, 0, 0], ms=1.0)]
    return results.run(subjects, **changes)


def test_one_machine_and_the_same_rows_share_a_figure() -> None:
    front = front_view([run(), run(seed=14)], ["one", "two"], "accuracy")
    (panel,) = front["panels"]
    (figure,) = panel["figures"]
    assert (figure["title"], front["notes"]) == ("", [])
    assert [row["id"] for row in panel["rows"]] == ["0-0", "0-1", "1-0", "1-1"]
    assert {row["machine"] for row in panel["rows"]} == {0}


def test_two_machines_have_a_figure_each_of_latency_and_one_of_size() -> None:
    runs = [run(), run(machine=results.MACHINE | {"cpu": "Other CPU"})]
    front = front_view(runs, ["one", "two"], "accuracy")
    assert [figure["title"] for figure in front["panels"][0]["figures"]] == ["Example CPU, 2 cores", "Other CPU, 2 cores"]
    assert [row["machine"] for row in front["panels"][0]["rows"]] == [0, 0, 1, 1]
    assert [figure["title"] for figure in front["sizes"]] == [""]
    assert "timed on 2 machines" in front["notes"][0]


def test_machines_of_one_name_are_told_apart() -> None:
    runs = [run(), run(machine=results.MACHINE | {"flags": ["avx2", "avx512_vnni"]})]
    titles = [figure["title"] for figure in front_view(runs, ["one", "two"], "accuracy")["panels"][0]["figures"]]
    assert titles == ["Example CPU, 2 cores (machine 1)", "Example CPU, 2 cores (machine 2)"]


def test_memory_and_system_make_no_other_machine() -> None:
    runs = [run(), run(machine=results.MACHINE | {"memory_bytes": 16, "os": "Linux 7"})]
    assert front_view(runs, ["one", "two"], "accuracy")["notes"] == []


def test_other_evaluation_rows_have_a_figure_of_their_own() -> None:
    front = front_view([run(), run(rows="b")], ["one", "two"], "accuracy")
    for figures in (front["panels"][0]["figures"], front["sizes"]):
        assert [figure["title"] for figure in figures] == ["rows of one", "rows of two"]
    assert "2 sets of evaluation rows" in front["notes"][0]


def test_rows_are_known_by_the_part_or_where_a_run_does_not_tell_it_by_all() -> None:
    newer = {"data": {"fingerprint": "all", "splits": {"evaluation": {"fingerprint": "part"}}}}
    older = {"data": {"fingerprint": "all"}}
    assert rows_of([newer, newer]) == ["part", "part"]
    assert rows_of([newer, older]) == ["all", "all"]


def test_the_first_setting_is_one_that_most_runs_were_timed_at() -> None:
    runs = [run(), run(), run()]
    for other in runs[1:]:
        for subject in other["subjects"]:
            subject["latency"] = [row | {"batch": 8} for row in subject["latency"]]
    panels = front_view(runs, ["one", "two", "three"], "accuracy")["panels"]
    assert [(panel["values"]["batch"], panel["is_main"]) for panel in panels] == [("1", False), ("8", True)]
    assert [row["ms"] for row in panels[0]["rows"]] == [2.0, 1.0, "", "", "", ""]


def test_runs_without_latencies_show_quality_against_size() -> None:
    bare = run()
    for subject in bare["subjects"]:
        del subject["latency"]
    front = front_view([bare], ["one"], "accuracy")
    assert front["panels"] == []
    assert len(front["sizes"][0]["drawings"][0]["marks"]) == 2


def test_in_a_full_figure_the_shipped_files_have_labels() -> None:
    runs = [run() for _ in range(MOST_NAMED)]
    front = front_view(runs, [f"run {number}" for number in range(MOST_NAMED)], "accuracy")
    marks = front["panels"][0]["figures"][0]["drawings"][0]["marks"]
    assert {mark["name"] for mark in marks if not mark["is_shipped"]} == {""}
    assert {mark["name"] for mark in marks if mark["is_shipped"]} == {f"run {number}" for number in range(MOST_NAMED)}
    assert all(mark["tip"].startswith(f"run {mark['run']}: ") for mark in marks)


@pytest.mark.parametrize("length", [100, 3000])
def test_a_page_of_twenty_subjects_is_under_three_megabytes(length: int) -> None:
    texts = {"differing": [{"text": "x" * length, "label": 0, "teacher": [0.9, 0.1], "student": [0.1, 0.9]}] * 200}
    example = json.loads((Path(__file__).parents[1] / "example_run.json").read_text(encoding="utf-8"))
    page = render_page([Shown(f"run {number}", example, texts) for number in range(5)])  # of four subjects each
    assert len(page.encode()) < MOST_BYTES
