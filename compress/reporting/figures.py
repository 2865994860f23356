"""Work out where the marks of the report's figures stand; the template only draws them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.record import finite

LABEL_HEIGHT = 17.0
CHARACTER_WIDTH = 6.9  # a bold 12 px letter of the system fonts, on average, with some air
GAP = 5.0
MAX_CURVE_POINTS = 300

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """A subject in the front figure.

    Args:
        name: Its label; long ones are cut, and an empty one is none.
        cost: What it stands above: a latency in milliseconds, or a size in megabytes; > 0.
        metric: Accuracy in percent, or another score.
        low: Lower end of its interval in percent, or None.
        high: Upper end, or None.
        size_bytes: Its file's size, or None; drawn as the marker's area.
        kind: What runs it, of `compress.runtimes.table`.
        is_shipped: Whether this is the deployed file.
        tip: The text that hovering shows.
        is_less_better: Whether the score is a number of which less is better, and no percentage.
        id: By which the page knows it.
    """

    name: str
    cost: float
    metric: float
    low: float | None
    high: float | None
    size_bytes: float | None
    kind: str
    is_shipped: bool
    tip: str
    is_less_better: bool = False
    id: str = ""


@dataclass(frozen=True)
class Frame:
    """The size of a figure and its margins, in the SVG's own units (pixels at full width)."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    radius: float
    letters: int

    @property
    def plot(self) -> Box:
        """The area inside the axes."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom


WIDE = Frame(860, 430, left=58, top=30, right=24, bottom=52, radius=25, letters=30)
NARROW = Frame(360, 380, left=44, top=30, right=12, bottom=50, radius=17, letters=20)


def front_figure(points: Sequence[Point], frame: Frame) -> dict[str, Any]:
    """Lay out accuracy against what it costs (log): ticks, markers, error bars, the front's line and labels apart.

    Args:
        points: In the order of the flow; at least one.
        frame: How large.
    """
    left, top, right, bottom = frame.plot
    x_low, x_high = log_range([point.cost for point in points])
    ends = [value for point in points for value in (point.low, point.high, point.metric) if value is not None]
    y_low, y_high = padded(min(ends), max(ends))
    most = math.inf if points[0].is_less_better else 100.0
    largest = max((point.size_bytes or 0.0 for point in points), default=0.0)

    def across(value: float) -> float:
        return left + (right - left) * math.log(value / x_low) / math.log(x_high / x_low)

    def down(value: float) -> float:
        return bottom - (bottom - top) * (value - y_low) / (y_high - y_low)

    marks: list[dict[str, Any]] = [
        {
            "x": across(point.cost),
            "y": down(point.metric),
            "r": radius_of(point.size_bytes, largest, frame),
            "low": None if point.low is None else down(point.low),
            "high": None if point.high is None else down(point.high),
            "kind": point.kind,
            "is_shipped": point.is_shipped,
            "tip": point.tip,
            "name": point.name,
            "id": point.id,
        }
        for point in points
    ]
    for mark, label in zip(marks, place_labels(marks, frame), strict=True):
        mark["label"] = label
    return {
        "frame": frame,
        "plot": frame.plot,
        "marks": sorted(marks, key=lambda mark: -float(mark["r"])),  # small ones on top
        "x_ticks": [{"at": across(tick), "text": f"{tick:g}"} for tick in log_ticks(x_low, x_high)],
        "y_ticks": [{"at": down(tick), "text": f"{tick:g}"} for tick in ticks(y_low, min(y_high, most))],
        "front": _line((across(x), down(y)) for x, y in front_of(points)),
    }


def radius_of(size_bytes: float | None, largest: float, frame: Frame) -> float:
    """A marker's radius, so that its area goes with the file's size; at least 4 to stay visible."""
    if not size_bytes or not largest:
        return 4.0
    return max(4.0, frame.radius * math.sqrt(size_bytes / largest))


def size_key(points: Sequence[Point], frame: Frame) -> list[dict[str, Any]]:
    """Two round sizes with their radii, to read the marker areas by; none when no size is known."""
    largest = max((point.size_bytes or 0.0 for point in points), default=0.0)
    if largest < 1:
        return []
    round_sizes = [mantissa * 10.0**power for power in range(13) for mantissa in (1, 2, 5)]
    big = max(size for size in round_sizes if size <= largest)
    return [{"size_bytes": size, "r": radius_of(size, largest, frame)} for size in (big, big / 10)]


def front_of(points: Sequence[Point]) -> list[tuple[float, float]]:
    """The points that no other one beats in both cost and accuracy, the cheapest first."""
    best, front = -math.inf, []
    sign = -1 if points and points[0].is_less_better else 1
    for point in sorted(points, key=lambda point: (point.cost, -sign * point.metric)):
        if sign * point.metric > best:
            best = sign * point.metric
            front.append((point.cost, point.metric))
    return front


def place_labels(marks: Sequence[dict[str, Any]], frame: Frame) -> list[dict[str, Any] | None]:
    """Find each label a place that covers no marker, no error bar and no other label, as near as there is.

    The shipped file chooses first. A label that stands away from its marker gets a leader line; None when no
    place is left, which takes more labels than the figure can hold.
    """
    obstacles = [box for mark in marks for box in _mark_boxes(mark)]
    taken: list[Box] = []
    labels: list[dict[str, Any] | None] = [None] * len(marks)
    for index in sorted(range(len(marks)), key=lambda index: (not marks[index]["is_shipped"], index)):
        mark = marks[index]
        if not mark["name"]:
            continue
        text = shortened(mark["name"], frame.letters)
        size = (text_width(text), LABEL_HEIGHT)
        box = _free_place(mark, size, [*obstacles, *taken], frame) or _free_place(mark, size, taken, frame)
        if box is not None:
            taken.append(box)
            labels[index] = {"text": text, "box": box, "x": box[0], "y": box[3] - 4.5, "leader": _leader(mark, box)}
    return labels


def _mark_boxes(mark: dict[str, Any]) -> list[Box]:
    x, y, r = mark["x"], mark["y"], mark["r"]
    boxes = [(x - r, y - r, x + r, y + r)]
    if mark["low"] is not None and mark["high"] is not None:
        boxes.append((x - 4, mark["high"], x + 4, mark["low"]))
    return boxes


def _free_place(mark: dict[str, Any], size: tuple[float, float], taken: list[Box], frame: Frame) -> Box | None:
    for box in _places(mark, size, frame):
        if not any(overlaps(box, other) for other in taken):
            return box
    return None


def _places(mark: dict[str, Any], size: tuple[float, float], frame: Frame) -> Iterable[Box]:
    """Beside the marker, over it, under it; then the whole plot, the nearest place first."""
    x, y, r = mark["x"], mark["y"], mark["r"]
    wide, high = size
    left, top, right, bottom = frame.plot
    beside = [
        (x + r + GAP, y - high / 2),
        (x - r - GAP - wide, y - high / 2),
        (x + r + GAP, y - high),
        (x + r + GAP, y),
        (x - r - GAP - wide, y - high),
        (x - r - GAP - wide, y),
        (x - wide / 2, y - r - GAP - high),
        (x - wide / 2, y + r + GAP),
    ]
    for at_x, at_y in beside:
        if at_x >= left + 1 and at_x + wide <= right and at_y >= top and at_y + high <= bottom - 1:
            yield at_x, at_y, at_x + wide, at_y + high
    grid = [
        (float(at_x), float(at_y), at_x + wide, at_y + high)
        for at_x in range(int(left) + 2, int(right - wide), 8)
        for at_y in range(int(top), int(bottom - high), 6)
    ]
    yield from sorted(grid, key=lambda box: _gap(box, x, y))


def _gap(box: Box, x: float, y: float) -> float:
    return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))


def _leader(mark: dict[str, Any], box: Box) -> Box | None:
    if _gap(box, mark["x"], mark["y"]) <= mark["r"] + 2 * GAP:
        return None
    end_x, end_y = min(max(mark["x"], box[0]), box[2]), min(max(mark["y"], box[1]), box[3])
    far = math.hypot(end_x - mark["x"], end_y - mark["y"])
    return (mark["x"] + (end_x - mark["x"]) * mark["r"] / far, mark["y"] + (end_y - mark["y"]) * mark["r"] / far, end_x, end_y)


def overlaps(box: Box, other: Box) -> bool:
    """Whether two boxes share any area."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def shortened(text: str, letters: int) -> str:
    """The text, cut in the middle when it has more letters: names differ at both ends."""
    if len(text) <= letters:
        return text
    head = letters // 2
    return text[:head].rstrip() + "\u2026" + text[len(text) - (letters - head - 1) :].lstrip()


def text_width(text: str) -> float:
    """About how wide a label is, in pixels at 12 px; letters of full width count twice."""
    return sum(CHARACTER_WIDTH * (2 if unicodedata.east_asian_width(letter) in "WF" else 1) for letter in text) + 2


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """The range of positive values on a logarithmic axis, with some room at both ends."""
    low, high = min(values), max(values)
    room = max(1.35, (high / low) ** 0.12)
    return (low / 2, high * 2) if high / low < 1.05 else (low / room, high * room)


def padded(low: float, high: float) -> tuple[float, float]:
    """The range with some room at both ends."""
    room = max((high - low) * 0.12, 0.4)
    return low - room, high + room


def log_ticks(low: float, high: float) -> list[float]:
    """Round values on a logarithmic axis: decades, or 1-2-5, or finer, whichever gives three to eight."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        values = [mantissa * 10.0**power for power in powers for mantissa in mantissas]
        values = [float(f"{tick:.4g}") for tick in values if low <= tick <= high]
        if len(values) >= 3:
            return values
    return [tick for tick in ticks(low, high) if tick > 0]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About so many round values from `low` to `high`; at least one."""
    if high <= low:
        return [float(f"{low:.4g}")]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(mantissa * power for mantissa in (1, 2, 5, 10) if mantissa * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _line(places: Iterable[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def loss_curve(rows: Sequence[Any], width: float = 300, height: float = 120) -> dict[str, Any] | None:
    """Lay out a small loss curve; None when fewer than two losses are numbers.

    Args:
        rows: [step, loss] or {step, loss, ...} in order; rows without a finite loss are left out.
        width: In pixels.
        height: In pixels.
    """
    points = []
    for index, row in enumerate(rows):
        entry = (row.get("step"), row.get("loss")) if isinstance(row, Mapping) else row
        step, loss = finite(entry[0]), finite(entry[1])
        if loss is not None:
            points.append((float(index) if step is None else step, loss))
    if len(points) < 2:
        return None
    stride = math.ceil(len(points) / MAX_CURVE_POINTS)
    kept = points[::stride] if points[-1] in points[::stride] else [*points[::stride], points[-1]]
    x_low, x_high = kept[0][0], max(kept[-1][0], kept[0][0] + 1)
    y_low, y_high = min(loss for _, loss in kept), max(loss for _, loss in kept)
    low, high = f"{y_low:.3g}", f"{y_high:.3g}"
    left, top, right, bottom = 8.0 + math.ceil(max(text_width(low), text_width(high))), 10.0, width - 8, height - 22
    spread = (y_high - y_low) or 1.0

    def place(step: float, loss: float) -> tuple[float, float]:
        return left + (right - left) * (step - x_low) / (x_high - x_low), bottom - (bottom - top) * (loss - y_low) / spread

    last_x, last_y = place(*kept[-1])
    return {
        "width": width,
        "height": height,
        "plot": (left, top, right, bottom),
        "path": _line(place(*pair) for pair in kept),
        "last": (last_x, last_y),
        "first_loss": f"{points[0][1]:.3g}",
        "last_loss": f"{points[-1][1]:.3g}",
        "low": low,
        "high": high,
        "first_step": f"{x_low:g}",
        "last_step": f"{kept[-1][0]:g}",
    }
