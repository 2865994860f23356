"""What long texts take: the table, where ways break even, and the figure."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from compress.errors import InputError
from tools.lengths import LABEL, apart, break_even, draw_lengths, lengths_block
from tools.pages import refresh_tables

DENSE = {128: 10.0, 512: 50.0, 2048: 500.0, 8192: 8000.0}
LONG = {128: 20.0, 512: 80.0, 2048: 320.0, 8192: 1280.0, 16384: 2600.0}
PAGE = "# Long\n\n<!-- lengths: results/long.json -->\nold\n<!-- end of lengths -->\n"


def content(**lines: dict[int, float]) -> dict[str, Any]:
    """A result with those times."""
    names = {"dense": "full attention, onnxruntime-cpu", "long": "longformer, onnxruntime-cpu", "theirs": "theirs"}
    rows = [
        {"name": names[name], "length": length, "p50_ms": ms, "peak_memory_bytes": length * 1000}
        for name, times in lines.items()
        for length, ms in times.items()
    ]
    return {
        "schema": 1,
        "rows": rows,
        "rounds": 2,
        "batch": 1,
        "threads": 1,
        "precision": "float32",
        "model": "A model",
        "machine": {"cpu": "A CPU (2 cores)"},
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A page's result."""
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "long.json"
    path.write_text(json.dumps(content(dense=DENSE, long=LONG, theirs={128: 30.0, 512: 90.0})))
    return path


def test_two_ways_break_even_where_their_powers_cross() -> None:
    assert break_even({100: 2.0, 400: 2.0}, {100: 1.0, 400: 4.0}) == pytest.approx(200.0)
    assert break_even({100: 4.0, 400: 5.0, 1600: 5.0}, {100: 1.0, 400: 5.0, 1600: 10.0}) == pytest.approx(400.0)


def test_a_way_that_is_always_or_never_faster_breaks_even_nowhere() -> None:
    assert break_even({100: 1.0, 200: 2.0}, {100: 2.0, 200: 3.0}) == 0.0
    assert break_even({100: 1.0, 200: 3.0}, {100: 2.0, 200: 3.0}) is None


def test_the_last_crossing_counts() -> None:
    own, other = {1: 1.0, 2: 3.0, 4: 1.0, 8: 1.0}, dict.fromkeys((1, 2, 4, 8), 2.0)
    length = break_even(own, other)
    assert length is not None
    assert 2 < length < 4


def test_a_page_shows_table_figure_and_break_even(path: Path) -> None:
    page = path.parents[1] / "README.md"
    page.write_text(PAGE)
    assert refresh_tables(page) is True
    text = page.read_text()
    assert "old" not in text
    assert "](results/long_onnxruntime-cpu.svg)" in text
    assert "| full attention, onnxruntime-cpu | 10.0 (0) | 50.0 (1) | 500 (2) | 8,000 (8) | \u2013 |" in text
    assert "longformer from about 1,000 tokens on (6.2\u00d7 at 8,192)" in text
    assert "on A CPU (2 cores)" in text
    assert refresh_tables(page) is False
    path.with_name("long_onnxruntime-cpu.svg").unlink()
    assert refresh_tables(page) is True


def test_the_figure_has_a_line_and_a_name_for_each_way(path: Path) -> None:
    _, figures = lengths_block(path, "results/long.json")
    (figure,) = figures.values()
    root = ElementTree.fromstring(figure)
    space = "{http://www.w3.org/2000/svg}"
    assert len([group for group in root.iter(f"{space}g") if group.get("id", "").startswith("way-")]) == 3
    labels = [group.find(f"{space}text") for group in root.iter(f"{space}g") if group.get("id", "").startswith("name-")]
    names = [label.text for label in labels if label is not None]
    assert names == ["full attention, onnxruntime-cpu", "longformer, onnxruntime-cpu", "theirs"]
    places = [float(label.get("y", "")) for label in labels if label is not None]
    assert min(abs(a - b) for i, a in enumerate(places) for b in places[:i]) >= 17


def test_a_single_measurement_is_drawn() -> None:
    assert '<g id="way-0">' in draw_lengths({"one, onnxruntime-cpu": {128: 3.0}}, "One", "onnxruntime-cpu")


def test_on_a_gpu_torch_is_the_runtime(path: Path) -> None:
    record = json.loads(path.read_text().replace("onnxruntime-cpu", "torch"))
    path.write_text(json.dumps({**record, "device": "cuda", "machine": {"cpu": "A CPU", "gpu": "A GPU"}, "rounds": 1}))
    text, figures = lengths_block(path, "results/long.json")
    assert list(figures) == ["long_torch.svg"]
    assert figures["long_torch.svg"].count("stroke-dasharray") == 1  # theirs
    assert "In torch less time than full attention takes: longformer from about 1,000 tokens on" in text
    assert "Medians of 1 round in turn" in text
    assert "on A GPU; in brackets the most memory that torch held on the GPU" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"rows": []},
        {"rows": [{"name": "a", "length": 1}]},
        {"rows": [{"name": "a", "length": 1.5, "p50_ms": 1}]},
        {"rows": [{"name": "a", "length": 8, "p50_ms": -1}]},
        {"rows": "many"},
    ],
)
def test_a_damaged_result_is_refused(path: Path, wrong: dict[str, Any]) -> None:
    path.write_text(json.dumps({**content(dense=DENSE), **wrong}))
    with pytest.raises(InputError, match=r"run benchmarks/long_inputs\.py again"):
        lengths_block(path, "results/long.json")


def test_a_missing_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        lengths_block(tmp_path / "none.json", "none.json")


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        ([], []),
        ([100.0], [100.0]),
        ([100.0, 200.0], [100.0, 200.0]),
        ([100.0, 100.0], [100.0 - LABEL / 2, 100.0 + LABEL / 2]),
        ([0.0, 0.0], [0.0, LABEL]),
        ([500.0, 200.0, 500.0], [500.0 - LABEL, 200.0, 500.0]),
    ],
)
def test_places_move_apart_about_their_middle_and_inside_the_ends(given: list[float], moved: list[float]) -> None:
    assert apart(given, 0.0, 500.0) == pytest.approx(moved)


def test_a_group_that_was_moved_apart_stays_clear_of_its_neighbours() -> None:
    given = [100.0, 100.0, 100.0, 100.0, 100.0 + LABEL * 1.2, 300.0]
    moved = sorted(apart(given, 0.0, 500.0))
    assert all(second - first >= LABEL - 1e-9 for first, second in pairwise(moved))
