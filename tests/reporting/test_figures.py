"""The figures' geometry, by hand: axes, markers, labels apart, the front, loss curves."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from compress.reporting.figures import (
    NARROW,
    WIDE,
    Frame,
    Point,
    front_figure,
    front_of,
    log_ticks,
    loss_curve,
    overlaps,
    radius_of,
    shortened,
    size_key,
    text_width,
    ticks,
)


def point(name: str, milliseconds: float, metric: float, **changes: Any) -> Point:
    facts = {"low": metric - 2, "high": metric + 2, "size_bytes": 1e6, "kind": "onnx", "is_shipped": False, "tip": name}
    return Point(name, milliseconds, metric, **(facts | changes))


def test_the_front_holds_what_no_other_beats() -> None:
    points = [point("slow", 9, 92), point("worse", 8, 90), point("fast", 1, 89), point("same", 1, 88), point("mid", 4, 91)]
    assert front_of(points) == [(1, 89), (4, 91), (9, 92)]


def test_an_equal_accuracy_that_is_slower_is_not_on_the_front() -> None:
    assert front_of([point("slow", 2, 90), point("fast", 1, 90)]) == [(1, 90)]


def test_equal_ratios_of_latency_are_equally_far_apart() -> None:
    drawn = front_figure([point("a", 1, 90), point("b", 4, 91), point("c", 16, 92)], WIDE)
    at = {mark["name"]: mark["x"] for mark in drawn["marks"]}
    assert at["b"] - at["a"] == pytest.approx(at["c"] - at["b"])
    assert at["a"] < at["b"]


def test_a_higher_metric_stands_higher_and_within_its_error_bar() -> None:
    drawn = front_figure([point("low", 1, 80), point("high", 2, 90, low=None, high=None)], WIDE)
    low, high = (next(mark for mark in drawn["marks"] if mark["name"] == name) for name in ("low", "high"))
    assert high["y"] < low["y"]
    assert low["high"] < low["y"] < low["low"]
    assert high["low"] is None


@pytest.mark.parametrize("frame", [WIDE, NARROW])
@pytest.mark.parametrize("metrics", [(90, 90, 90), (0, 50, 100)])
def test_every_marker_stands_in_the_plot(frame: Frame, metrics: tuple[float, ...]) -> None:
    drawn = front_figure([point(str(index), 3.0, metric) for index, metric in enumerate(metrics)], frame)
    left, top, right, bottom = frame.plot
    assert all(left < mark["x"] < right and top < mark["y"] < bottom for mark in drawn["marks"])
    assert all(float(tick["text"]) <= 100 for tick in drawn["y_ticks"])


@pytest.mark.parametrize("frame", [WIDE, NARROW])
def test_labels_of_crowded_points_neither_overlap_nor_leave_the_plot(frame: Frame) -> None:
    points = [point(f"subject number {index}", 2 + index / 50, 90 + index / 30) for index in range(8)]
    labels = [mark["label"] for mark in front_figure(points, frame)["marks"]]
    boxes = [label["box"] for label in labels]
    left, top, right, bottom = frame.plot
    assert not any(overlaps(box, other) for box, other in itertools.combinations(boxes, 2))
    assert all(left <= box[0] and top <= box[1] and box[2] <= right and box[3] <= bottom for box in boxes)
    assert any(label["leader"] for label in labels)


def test_a_lone_point_has_its_label_beside_it() -> None:
    (mark,) = front_figure([point("alone", 5, 90)], WIDE)["marks"]
    assert mark["label"]["box"][0] == pytest.approx(mark["x"] + mark["r"] + 5)
    assert mark["label"]["leader"] is None


def test_small_markers_are_drawn_over_large_ones() -> None:
    points = [point("small", 1, 90, size_bytes=1e6), point("large", 1, 90, size_bytes=1e8)]
    assert [mark["name"] for mark in front_figure(points, WIDE)["marks"]] == ["large", "small"]


def test_boxes_that_touch_do_not_overlap() -> None:
    assert not overlaps((0, 0, 1, 1), (1, 0, 2, 1))
    assert overlaps((0, 0, 1, 1), (0.9, 0.9, 2, 2))


def test_the_area_of_a_marker_goes_with_the_size() -> None:
    assert radius_of(1e8, 1e8, WIDE) == WIDE.radius
    assert radius_of(2.5e7, 1e8, WIDE) == WIDE.radius / 2
    assert radius_of(1.0, 1e8, WIDE) == radius_of(None, 1e8, WIDE) == 4.0


def test_the_key_has_round_sizes_that_were_reached() -> None:
    key = size_key([point("a", 1, 90, size_bytes=9.09e7)], WIDE)
    assert [circle["size_bytes"] for circle in key] == [5e7, 5e6]
    assert key[0]["r"] == pytest.approx(WIDE.radius * math.sqrt(5 / 9.09))
    assert size_key([point("a", 1, 90, size_bytes=None)], WIDE) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 200, [1, 10, 100]),
        (0.8, 30, [1, 2, 5, 10, 20]),
        (1.9, 5.1, [2, 3, 4, 5]),
    ],
)
def test_logarithmic_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert log_ticks(low, high) == expected


def test_a_narrow_logarithmic_range_has_ticks_too() -> None:
    assert log_ticks(6.1, 6.9) == [6.2, 6.4, 6.6, 6.8]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (87.6, 92.1, [88, 89, 90, 91, 92]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_a_long_name_is_cut_in_the_middle() -> None:
    assert shortened("onnxruntime-cpu-int8", 9) == "onnx\u2026int8"
    assert shortened("just fits", 9) == "just fits"


def test_letters_of_full_width_count_twice() -> None:
    assert text_width("\u6a21\u578b") == pytest.approx(text_width("abcd"))


@pytest.mark.parametrize(
    "rows",
    [[[1, 0.8], [11, 0.4], [21, 0.6]], [{"step": 1, "loss": 0.8}, {"step": 11, "loss": 0.4}, {"step": 21, "loss": 0.6}]],
)
def test_a_loss_curve_runs_over_its_plot(rows: list[Any]) -> None:
    curve = loss_curve(rows)
    assert curve is not None
    left, top, right, bottom = curve["plot"]
    middle = (left + right) / 2
    assert curve["path"] == f"M{left:.1f} {top:.1f} L{middle:.1f} {bottom:.1f} L{right:.1f} {(top + bottom) / 2:.1f}"
    assert (curve["first_loss"], curve["last_loss"], curve["low"], curve["high"]) == ("0.8", "0.6", "0.4", "0.8")


@pytest.mark.parametrize("rows", [[], [[1, 0.5]], [[1, 0.5], [2, math.nan]], [{"step": 1}, {"step": 2}]])
def test_fewer_than_two_losses_give_no_curve(rows: list[Any]) -> None:
    assert loss_curve(rows) is None


def test_a_long_curve_is_thinned_and_keeps_its_last_loss() -> None:
    curve = loss_curve([[step, 1 / (step + 1)] for step in range(1000)])
    assert curve is not None
    assert 200 <= curve["path"].count("L") <= 300
    assert curve["last_step"] == "999"


def test_a_flat_curve_is_drawn() -> None:
    curve = loss_curve([[1, 0.5], [2, 0.5]])
    assert curve is not None
    assert "nan" not in curve["path"]
