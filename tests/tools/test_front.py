"""The overview of all students: retention by hand, over seeds and recipes, beside the published ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from tools.front import front_block, share_text
from tools.published import PUBLISHED

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


@pytest.fixture
def run() -> dict[str, Any]:
    """A teacher of 800 right answers in 872, its student of half the work: 789 in the float file, 784 in the int8 file."""
    record: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return record


def write(folder: Path, name: str, *runs: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"schema": 1, "runs": runs}))


def seed(run: dict[str, Any], number: int, right: tuple[int, int, int, int], speedup: float = 8.0) -> dict[str, Any]:
    """The run with another seed, as many right answers of each subject, and another speed-up of the int8 file."""
    other = copy.deepcopy(run)
    other["recipe"]["seed"] = number
    for subject, count in zip(other["subjects"], right, strict=True):
        subject["metrics"]["accuracy"] = count / 872
    other["subjects"][3]["latency"][0]["speedup"] = speedup
    return other


def rows_of(folder: Path) -> list[list[str]]:
    """The cells of the recipes' table."""
    table = front_block(folder, "there")[0].split("\n\n")[2]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_one_seed_shows_what_its_files_retain_and_says_that_it_is_alone(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "three", run)
    # 784 / 800 and 789 / 800
    assert rows_of(tmp_path) == [["three", "onnxruntime-cpu-int8", "50", "98.0", "98.6", "17.6", "8.0\u00d7", "13 only"]]


def test_several_seeds_show_the_mean_of_their_own_ratios(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "three", run, seed(run, 14, (400, 390, 390, 396), 10.0), seed(run, 15, (800, 812, 812, 808), 12.0))
    # int8: 0.98, 0.99, 1.01 of each seed's own teacher; float: 0.98625, 0.975, 1.015
    assert rows_of(tmp_path) == [
        [
            "three",
            "onnxruntime-cpu-int8",
            "50",
            "99.3 (98.0 to 101.0)",
            "99.2 (97.5 to 101.5)",
            "17.6",
            "10.0\u00d7",
            "13, 14, 15",
        ]
    ]


def test_recipes_stand_from_most_to_least_work(tmp_path: Path, run: dict[str, Any]) -> None:
    small, quantized = copy.deepcopy(run), copy.deepcopy(run)
    small["subjects"][1]["macs"] = 342_000
    del quantized["subjects"][1]
    for name, record in (("b_half", run), ("a_half", run), ("small", small), ("quantized", quantized)):
        write(tmp_path, name, record)
    assert [(row[0], row[2]) for row in rows_of(tmp_path)] == [
        ("quantized", "100"),
        ("a_half", "50"),
        ("b_half", "50"),
        ("small", "0.1"),
    ]


def test_each_int8_file_has_a_row_and_the_figure_shows_the_shipped_one(tmp_path: Path, run: dict[str, Any]) -> None:
    other = copy.deepcopy(run["subjects"][3]) | {"metrics": {"accuracy": 796 / 872}}
    other |= {"name": "openvino-cpu-int8", "target": "openvino-cpu-int8", "kind": "openvino"}
    run["subjects"].insert(3, other)
    write(tmp_path, "three", run)
    assert [(row[1], row[3]) for row in rows_of(tmp_path)] == [("onnxruntime-cpu-int8", "98.0"), ("openvino-cpu-int8", "99.5")]
    figure = front_block(tmp_path, "there")[1]["front.svg"]
    assert "three, onnxruntime-cpu-int8: 98.0 %" in figure
    assert "openvino" not in figure


def test_a_recipe_without_an_int8_file_shows_its_last_file(tmp_path: Path, run: dict[str, Any]) -> None:
    del run["subjects"][3]
    write(tmp_path, "float", run)
    assert rows_of(tmp_path) == [["float", "onnxruntime-cpu", "50", "98.6", "\u2013", "69.8", "3.2\u00d7", "13 only"]]


def test_what_was_not_measured_is_a_dash_and_is_not_drawn(tmp_path: Path, run: dict[str, Any]) -> None:
    run["subjects"][0]["macs"] = None
    run["subjects"][3] |= {"size_bytes": None, "latency": []}
    write(tmp_path, "three", run)
    assert rows_of(tmp_path)[0][2:] == ["\u2013", "98.0", "98.6", "\u2013", "\u2013", "13 only"]
    assert "three" not in front_block(tmp_path, "there")[1]["front.svg"]


def test_a_teacher_without_a_right_answer_gives_no_retention(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "three", run, seed(run, 14, (0, 1, 1, 1)))
    assert rows_of(tmp_path)[0][3:5] == ["\u2013", "\u2013"]


def test_the_line_below_tells_data_and_machine(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "three", run)
    text = front_block(tmp_path, "there")[0]
    assert "on the evaluation data of sst2, 872 examples" in text
    assert "on Example CPU 2.0 GHz (4 cores) at batch 1, length 32, 1 thread." in text


def test_recipes_of_two_machines_say_which_was_measured_where(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "here", run)
    run["machine"]["cpu"] = "Another CPU"
    write(tmp_path, "there", run)
    text = front_block(tmp_path, "there")[0]
    assert "1 thread (here); Another CPU (4 cores) at batch 1, length 32, 1 thread (there)." in text


def test_published_students_stand_below_with_their_papers(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "three", run)
    text, figures = front_block(tmp_path, "there")
    # 91.3 / 92.7 and 1.2 / 22.5, 92.6 / 93.4
    assert "| DistilBERT | 1910.01108 | dev | 50 (6 of 12 layers) | 98.5 | 91.3 of BERT-base's 92.7 | 1.6\u00d7 |" in text
    assert "| TinyBERT4 | 1909.10351 | test | 5.33 (1.2 of 22.5 GFLOPs) | 99.1 | 92.6 of BERT-base's 93.4 | 9.4\u00d7" in text
    assert "| BiLSTM | 1903.12136 | test | \u2013 | 95.6 | 90.7 of BERT-large's 94.9 | \u2013 |" in text
    assert text.startswith("![Accuracy retained on sst2 against multiply-adds](there/front.svg)\n\n![Accuracy")
    assert "](there/front_speed.svg)" in text
    assert all(">TinyBERT4</text>" in figure and "BiLSTM" not in figure for figure in figures.values())
    assert ">PKD-3</text>" in figures["front.svg"]
    assert "PKD-3" not in figures["front_speed.svg"]
    assert ">CoFi, 95 % gone</text>" in figures["front_speed.svg"]
    assert "CoFi" not in figures["front.svg"]


def test_another_task_has_no_published_students(tmp_path: Path, run: dict[str, Any]) -> None:
    run["data"]["name"] = "tweets"
    write(tmp_path, "three", run)
    text, figures = front_block(tmp_path, "there")
    assert "published student" not in text
    assert not any("TinyBERT" in figure for figure in figures.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "runs"', "cannot be read as JSON"),
        ('{"schema": 2}', "no results of schema 1"),
        ('{"schema": 1, "runs": [{}]}', "run 1 of 1 has no subjects"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, run: dict[str, Any], text: str, words: str) -> None:
    write(tmp_path, "three", run)
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(InputError, match=f"broken.json.*{words}"):
        front_block(tmp_path, "there")


@pytest.mark.parametrize("name", [".", "nowhere"])
def test_a_folder_without_results_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="holds no results"):
        front_block(tmp_path / name, "there")


def test_results_of_two_tasks_are_refused(tmp_path: Path, run: dict[str, Any]) -> None:
    write(tmp_path, "one", run)
    run["data"]["name"] = "mrpc"
    write(tmp_path, "other", run)
    with pytest.raises(InputError, match="on the data mrpc, sst2"):
        front_block(tmp_path, "there")


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "\u2013"), (0.0, "0"), (1.0, "100"), (0.5, "50"), (1.2, "120"), (1.2 / 22.5, "5.33"), (0.00002134, "0.00213")],
)
def test_a_share_has_three_digits(share: float | None, text: str) -> None:
    assert share_text(share) == text


def test_published_figures_are_possible_and_have_one_paper_each() -> None:
    for paper in PUBLISHED["sst2"]:
        assert 50 < paper.accuracy < paper.teacher_accuracy < 100
        assert paper.split in ("dev", "test")
        assert len(paper.source) == 10
        assert paper.macs_share is None or 0 < paper.macs_share < 1
