"""The command `report` of several runs: what it writes, and what it refuses before anything is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call
from tests.reporting import results

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(name: str, **changes: Any) -> dict[str, Any]:
    """A run folder with a record that is a little different, and what it holds."""
    run: dict[str, Any] = results.run([results.subject("teacher", [1, 1]), results.subject("onnxruntime-cpu", [1, 0])])
    run |= {"name": name} | changes
    os.makedirs(name, exist_ok=True)
    Path(name, "run.json").write_text(json.dumps(run), encoding="utf-8")
    return run


def refused(*arguments: str) -> str:
    """What a refused command says; nothing is written by it."""
    before = sorted(map(str, Path().rglob("*")))
    result = call("report", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(map(str, Path().rglob("*"))) == before
    return result.stderr


def test_several_runs_stand_on_one_page() -> None:
    for name in ("one", "two"):
        kept(name)
    result = call("report", "one", "two", "--out", "page.html")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "report: page.html"
    page = Path("page.html").read_text(encoding="utf-8")
    assert "2 runs beside each other" in page
    document = json.loads(call("report", "one", "two", "--out", "page.html", "--json").stdout)
    assert [(run["name"], len(run["subjects"])) for run in document["runs"]] == [("one", 2), ("two", 2)]
    assert sorted(os.listdir()) == ["one", "page.html", "two"]
    assert os.listdir("one") == ["run.json"]


def test_recorded_results_show_a_run_for_each_seed() -> None:
    runs = [kept("one", recipe={"seed": seed}) for seed in (1, 2)]
    Path("results.json").write_text(json.dumps({"schema": 1, "runs": runs}), encoding="utf-8")
    assert call("report", "results.json", "--out", "page.html").exit_code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "one, seed 1" in page
    assert "one, seed 2" in page


def test_one_run_folder_may_be_written_elsewhere() -> None:
    kept("one")
    assert call("report", "one", "--out", "page.html").exit_code == 0
    assert "beside each other" not in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("paths", "count"), [(("one", "two"), "2 runs"), (("one/run.json",), "recorded results")])
def test_what_has_no_report_of_its_own_needs_a_name(paths: tuple[str, ...], count: str) -> None:
    for name in ("one", "two"):
        kept(name)
    assert f"a report of {count} needs the name of a file; add --out report.html" in refused(*paths)


def test_a_run_that_stands_there_twice_is_refused() -> None:
    run = kept("one")
    assert "'one' is given twice" in refused("one", "./one", "--out", "page.html")
    os.makedirs("copy")
    Path("copy/run.json").write_text(json.dumps(run), encoding="utf-8")
    assert "copy and one hold the same run; give each run once" in refused("one", "copy", "--out", "page.html")


def test_runs_of_different_tasks_are_refused() -> None:
    kept("one")
    kept("two", data={"kind": "token-classification", "name": "wnut17"})
    said = refused("one", "two", "--out", "page.html")
    assert "of 2 (one: text-classification of own data by accuracy; two: token-classification of wnut17 by accuracy)" in said
    assert "Write a report for each task." in said


def test_a_later_schema_is_told_from_what_is_no_record() -> None:
    kept("one", schema=2)
    for arguments in (["one"], ["one", "--out", "page.html"]):
        assert "one/run.json is of schema 2, and this version of bert-compress reads schema 1" in refused(*arguments)
    kept("one", schema="mine")
    assert "no record of a run of ours" in refused("one", "--out", "page.html")


def test_a_folder_without_a_run_is_refused() -> None:
    os.makedirs("empty")
    assert "'empty' has no run.json" in refused("empty")
    said = refused("empty", "--out", "page.html")
    assert "'empty' holds no finished run; give a run folder (runs/NAME) or recorded results" in said
    assert "'nowhere' is not there" in refused("nowhere", "--out", "page.html")


def test_a_file_that_is_anyone_elses_is_kept() -> None:
    kept("one")
    Path("page.html").write_text("mine", encoding="utf-8")
    assert "--out page.html is there and is no report of ours" in refused("one", "--out", "page.html")
    assert Path("page.html").read_text(encoding="utf-8") == "mine"
    assert "--out one is a folder; name a file in it" in refused("one", "--out", "one")
    assert "lies in no folder that there is" in refused("one", "--out", "nowhere/page.html")


def test_the_details_are_read_as_a_run_writes_them() -> None:
    kept("one")
    details = {"curves": {"teacher": [{"step": 1, "loss": 0.75}, {"step": 2, "loss": 0.5}]}, "confusion": {"teacher": None}}
    Path("one/details.json").write_text(json.dumps(details), encoding="utf-8")
    assert call("report", "one").exit_code == 0
    assert "0.75 \u2192 0.5" in Path("one/report.html").read_text(encoding="utf-8")
