"""The figure of all students: where its marks stand, and that it is one file that needs nothing else."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from tools.front_svg import FRAME, HAIR, SPEEDUPS, STEP, Mark, aside, draw_front

SVG = "{http://www.w3.org/2000/svg}"


def ours(name: str, at: float, retention: float, spread: float = 0.5) -> Mark:
    return Mark(name, "ours", at, retention, retention - spread, retention + spread, f"{name} tip")


def places(text: str) -> dict[str, tuple[float, float]]:
    """Where each mark stands, by its tip."""
    centres = {}
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        title, marker = group.find(f"{SVG}title"), group.find(f".//{SVG}use")
        if title is not None and marker is not None:
            centres[str(title.text)] = (float(marker.attrib["x"]), float(marker.attrib["y"]))
    return centres


def labels(text: str) -> list[str]:
    """The names of the marks."""
    groups = [group for group in ElementTree.fromstring(text).iter(f"{SVG}g") if group.get("id", "").startswith("label-")]
    return [str(element.text) for group in groups for element in group.iter(f"{SVG}text")]


def test_less_work_stands_to_the_left_and_more_retention_above() -> None:
    centres = places(draw_front([ours("small", 10, 95), ours("large", 60, 99)], "title"))
    (small_x, small_y), (large_x, large_y) = centres["small tip"], centres["large tip"]
    left, _, right, _ = FRAME.plot
    assert large_x - small_x == pytest.approx((right - left - 2 * STEP) * 0.5, abs=0.1)
    assert small_y > large_y


def test_a_speed_up_of_twice_as_much_stands_as_far_to_the_right_everywhere() -> None:
    marks = [ours(f"{speed}", speed, 95) for speed in (0.5, 1, 4, 16, 64)]
    centres = places(draw_front(marks, "title", SPEEDUPS))
    slow, equal, four, sixteen, most = (centres[f"{speed} tip"][0] for speed in (0.5, 1, 4, 16, 64))
    left, _, right, _ = FRAME.plot
    assert equal - slow == pytest.approx(STEP, abs=0.1)  # slower than the teacher stands where equal stands, beside it
    assert sixteen - four == pytest.approx((right - left - 2 * STEP) / 3, abs=0.1)
    assert most == pytest.approx(right - STEP, abs=0.1)
    assert SPEEDUPS.ticks(64) == [1, 2, 5, 10, 20, 50]
    assert SPEEDUPS.ticks(10) == [1, 2, 5, 10]


def test_every_mark_stays_in_the_plot_and_has_its_label() -> None:
    marks = [ours(f"recipe {index}", 50, 98 + index / 10) for index in range(6)]
    marks += [
        ours("nothing", 0, 60),
        ours("all", 100, 101),
        Mark("paper", "dev", 50, 98, None, None, "tip"),
        Mark("other", "test", 25, 99, None, None, "tip"),
    ]
    text = draw_front(marks, "title")
    left, top, right, bottom = FRAME.plot
    assert all(left < x < right and top < y < bottom for x, y in places(text).values())
    assert sorted(labels(text)) == sorted(mark.name for mark in marks)


def test_marks_of_equal_work_do_not_cover_each_other() -> None:
    centres = places(draw_front([ours(f"{index}", 50, 98) for index in range(5)], "title"))
    assert all(abs(centre[0] - other[0]) >= STEP - 0.2 for centre, other in combinations(centres.values(), 2))


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        ([], []),
        ([100.0], [100.0]),
        ([100.0, 200.0], [100.0, 200.0]),
        ([100.0, 100.0, 100.0], [100.0, 100.0 + STEP, 100.0 - STEP]),
        ([0.0, 0.0, 0.0], [0.0, STEP, 2 * STEP]),
        ([500.0, 200.0, 500.0], [500.0, 200.0, 500.0 - STEP]),
        ([100.0, 102.0], [100.0, 100.0 + STEP]),
    ],
)
def test_marks_that_would_cover_each_other_move_as_little_as_there_is_room_for(given: list[float], moved: list[float]) -> None:
    assert aside([(x, 20.0, 10.0, 30.0) for x in given], 0.0, 500.0) == pytest.approx(moved)


def test_marks_above_each_other_stay_where_they_are() -> None:
    marks = [(100.0, 20.0, 20.0, 20.0), (100.0, 40.0, 38.0, 45.0), (103.0, 60.0, 55.0, 60.0)]
    assert aside(marks, 0.0, 500.0) == [100.0, 100.0, 103.0]


def test_a_line_of_seeds_moves_by_a_hair_where_it_would_lie_on_another() -> None:
    marks = [(100.0, 20.0, 10.0, 90.0), (100.0, 60.0, 30.0, 80.0), (101.0, 85.0, 85.0, 85.0)]
    first, second, third = aside(marks, 0.0, 500.0)
    assert (first, second) == (100.0, 100.0 + HAIR)
    assert abs(third - first) >= HAIR
    assert abs(third - second) >= HAIR


def test_fifty_marks_stay_near_their_place() -> None:
    marks = [ours(f"{index}", 20 + index % 10 * 8, 94 + index % 17 / 2, spread=0.2) for index in range(50)]
    centres = places(draw_front(marks, "title"))
    left, _, right, _ = FRAME.plot
    for mark in marks:
        own = left + STEP + (right - left - 2 * STEP) * mark.at / 100
        assert abs(centres[mark.tip][0] - own) <= 3 * STEP


def test_no_mark_is_an_empty_plot() -> None:
    assert places(draw_front([], "title")) == {}


def test_names_do_not_break_the_figure_and_it_asks_for_nothing() -> None:
    text = draw_front([ours('a<b>&"c', 50, 98)], "a < b")
    root = ElementTree.fromstring(text)
    assert 'a<b>&"c' in [element.text for element in root.iter(f"{SVG}text")]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
