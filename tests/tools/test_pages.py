"""Pages: tables and figures that are kept the same as their results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from tools.front import front_block
from tools.pages import refresh_tables
from tools.tables import recipes_table, results_table

EXAMPLE = Path(__file__).parents[1] / "example_run.json"
PAGE = "# Results\n\n<!-- results: results/a.json -->\nold\n<!-- end of results -->\n\nThe end.\n"
FRONT = "# All\n\n<!-- front: results -->\nold\n<!-- end of front -->\n\nThe end.\n"


@pytest.fixture
def run() -> dict[str, Any]:
    """A run with two torch models and two files."""
    record: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return record


@pytest.fixture
def page(tmp_path: Path, run: dict[str, Any]) -> Path:
    """A page with one table, and its results."""
    (tmp_path / "results").mkdir()
    write_results(tmp_path, [run])
    path = tmp_path / "README.md"
    path.write_text(PAGE)
    return path


def write_results(folder: Path, runs: list[Any]) -> None:
    (folder / "results" / "a.json").write_text(json.dumps({"schema": 1, "runs": runs}))


def test_a_table_takes_the_place_between_its_marks(page: Path, run: dict[str, Any]) -> None:
    assert refresh_tables(page) is True
    assert page.read_text() == (
        f"# Results\n\n<!-- results: results/a.json -->\n\n{results_table([run])}\n\n<!-- end of results -->\n\nThe end.\n"
    )
    assert sorted(os.listdir(page.parent)) == ["README.md", "results"]


def test_a_page_that_agrees_is_left_alone(page: Path) -> None:
    refresh_tables(page)
    before = page.stat()
    assert refresh_tables(page) is False
    assert (page.stat().st_mtime_ns, page.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_page_follows_its_results(page: Path, run: dict[str, Any]) -> None:
    refresh_tables(page)
    run["subjects"][3]["size_bytes"] = 12_345_678
    write_results(page.parent, [run])
    assert refresh_tables(page) is True
    assert "| 12.3 |" in page.read_text()


def test_every_table_of_a_page_is_written(page: Path) -> None:
    page.write_text(PAGE + PAGE.replace("The end.", "The very end."))
    refresh_tables(page)
    assert page.read_text().count("| onnxruntime-cpu-int8 |") == 2
    assert "old" not in page.read_text()
    assert page.read_text().endswith("<!-- end of results -->\n\nThe very end.\n")


def test_a_table_of_all_recipes_takes_its_place(page: Path, run: dict[str, Any]) -> None:
    page.write_text("<!-- recipes: results -->\nold\n<!-- end of recipes -->\n")
    assert refresh_tables(page) is True
    assert page.read_text() == f"<!-- recipes: results -->\n\n{recipes_table({'a': [run]})}\n\n<!-- end of recipes -->\n"


def test_the_ends_of_lines_stay_those_of_the_page(page: Path) -> None:
    page.write_bytes(PAGE.replace("\n", "\r\n").encode())
    assert refresh_tables(page) is True
    assert page.read_bytes().count(b"\r\n") == page.read_bytes().count(b"\n") > 10
    assert b"\r\r" not in page.read_bytes()
    assert refresh_tables(page) is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# No marks\n", "has no line <!-- results"),
        ("<!-- results: results/a.json -->\nold\n", "needs one <!-- end of results -->"),
        ("<!-- end of results -->\n", "needs one <!-- end of results -->"),
        ("<!-- end of results -->\n<!-- results: results/a.json -->\n", "needs one <!-- end of results -->"),
        ("<!-- results: results/a.json -->\n<!-- results: results/a.json -->\n", "needs one <!-- end of results -->"),
        ("<!-- results: results/none.json -->\n<!-- end of results -->\n", "none.json is no file"),
    ],
)
def test_a_page_with_wrong_marks_is_refused_and_left_alone(page: Path, text: str, words: str) -> None:
    page.write_text(text)
    with pytest.raises(InputError, match=words):
        refresh_tables(page)
    assert page.read_text() == text


def test_a_second_table_that_is_broken_leaves_the_whole_page_alone(page: Path) -> None:
    text = PAGE + "<!-- results: none.json -->\n<!-- end of results -->\n"
    page.write_text(text)
    with pytest.raises(InputError, match="is no file"):
        refresh_tables(page)
    assert page.read_text() == text


def test_a_page_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a Markdown file"):
        refresh_tables(tmp_path / "none.md")
    (tmp_path / "latin.md").write_bytes(b"\xe9")
    with pytest.raises(InputError, match="name a Markdown file"):
        refresh_tables(tmp_path / "latin.md")


def test_an_overview_takes_the_place_between_its_marks_and_its_figure_lies_beside_the_results(page: Path) -> None:
    page.write_text(FRONT)
    assert refresh_tables(page) is True
    block, figures = front_block(page.parent / "results", "results")
    assert page.read_text() == f"# All\n\n<!-- front: results -->\n\n{block}\n\n<!-- end of front -->\n\nThe end.\n"
    assert "](results/front.svg)" in block
    assert (page.parent / "results" / "front.svg").read_text() == figures["front.svg"]
    assert sorted(os.listdir(page.parent / "results")) == ["a.json", "front.svg", "front_speed.svg"]


def test_a_figure_that_is_gone_is_drawn_again(page: Path) -> None:
    page.write_text(FRONT)
    refresh_tables(page)
    assert refresh_tables(page) is False
    (page.parent / "results" / "front.svg").unlink()
    assert refresh_tables(page) is True
    assert (page.parent / "results" / "front.svg").is_file()


@pytest.mark.parametrize("text", ["<svg xmlns='mine'/>", "mine", ""])
def test_somebody_elses_figure_is_not_written_over(page: Path, text: str) -> None:
    page.write_text(FRONT)
    figure = page.parent / "results" / "front.svg"
    figure.write_text(text)
    before = page.read_bytes()
    with pytest.raises(InputError, match=r"front\.svg would be written over"):
        refresh_tables(page)
    assert figure.read_text() == text
    assert page.read_bytes() == before


def test_a_page_without_an_overview_gets_no_figure(page: Path) -> None:
    refresh_tables(page)
    assert os.listdir(page.parent / "results") == ["a.json"]


def test_a_table_and_an_overview_stand_on_one_page(page: Path) -> None:
    page.write_text(PAGE + FRONT)
    refresh_tables(page)
    assert "old" not in page.read_text()
    assert page.read_text().count("The end.") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- front: results -->\n<!-- end of results -->\n", "one <!-- end of front -->"),
        ("<!-- results: results/a.json -->\n<!-- end of front -->\n", "one <!-- end of front -->"),
        ("<!-- front: nowhere -->\n<!-- end of front -->\n", "nowhere holds no results"),
    ],
)
def test_an_overview_with_wrong_marks_is_refused_and_nothing_is_written(page: Path, text: str, words: str) -> None:
    page.write_text(FRONT + text)
    with pytest.raises(InputError, match=words):
        refresh_tables(page)
    assert page.read_text() == FRONT + text
    assert os.listdir(page.parent / "results") == ["a.json"]
