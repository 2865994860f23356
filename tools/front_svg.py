"""Draw what students retain against what they compute, or against their speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from compress.reporting.drawing import LIGHT, drawn, pixels, place
from compress.reporting.figures import Frame, padded, place_labels, ticks

FRAME = Frame(1040, 680, left=52, top=56, right=34, bottom=52, radius=6, letters=30)
KINDS = {"ours": "ours: mean and range of seeds", "dev": "published, GLUE dev", "test": "published, GLUE test"}
MARKERS = {
    "ours": ("o", "blue", "blue"),
    "dev": ("D", "card", "orange"),
    "test": ("s", "card", "orange"),
}  # shape, ground, edge
STEP = 14.0  # between marks that would cover each other, in pixels
HAIR = 4.0  # between lines of seeds that would, or such a line and a mark
SHIFT = 2.0  # by so much they are moved at a time


@dataclass(frozen=True)
class Axis:
    """What the marks stand along.

    Args:
        text: What it is, and in which unit.
        least: Where it ends at the right at least.
        is_log: Whether it begins at 1 and doubles in equal steps, or begins at 0.
    """

    text: str
    least: float
    is_log: bool = False

    def scale(self, axes: Axes, highest: float, room: float) -> None:
        """Lay it below a figure's axes, with as much of their width as `room` says left free at both ends."""
        if self.is_log:
            axes.set_xscale("log")
            axes.set_xlim(highest**-room, highest ** (1 + room))
        else:
            axes.set_xlim(-room * highest, (1 + room) * highest)
        axes.set_xticks(self.ticks(highest), [f"{tick:g}" for tick in self.ticks(highest)])
        axes.minorticks_off()

    def stand(self, value: float) -> float:
        """Where a value stands: on a logarithmic axis at 1 at least."""
        return max(value, 1.0) if self.is_log else value

    def ticks(self, highest: float) -> list[float]:
        """Round numbers along it."""
        if not self.is_log:
            return ticks(0, highest)
        tens = [10.0**power for power in range(math.ceil(math.log10(highest)) + 1)]
        return [digit * ten for ten in tens for digit in (1, 2, 5) if digit * ten <= highest]


SHARES = Axis("multiply-adds (% of the teacher's; equal ones stand side by side)", 100.0)
SPEEDUPS = Axis("speed-up (times as fast as the teacher; equal ones stand side by side)", 10.0, is_log=True)


@dataclass(frozen=True)
class Mark:
    """A student in the figure.

    Args:
        name: Its label.
        kind: "ours", or for a published one "dev" or "test".
        at: Where it stands along the axis.
        retention: In percent.
        low: Lowest of the seeds in percent, or None.
        high: Highest, or None.
        tip: The text that hovering shows.
    """

    name: str
    kind: str
    at: float
    retention: float
    low: float | None
    high: float | None
    tip: str


def draw_front(marks: Sequence[Mark], title: str, axis: Axis = SHARES) -> str:
    """Return an SVG that stands alone, follows light and dark, and labels every mark.

    Args:
        marks: Possibly none; those that would cover each other are moved aside, as little as there is room for.
        title: For readers that see no image.
        axis: What they stand along.
    """

    def paint(axes: Axes) -> dict[str, str]:
        _scale(axes, marks, axis)
        placed = _placed(axes, marks, axis)
        for index, mark in enumerate(placed):
            _draw_mark(axes, mark, f"mark-{index}")
        for index, (mark, label) in enumerate(zip(placed, place_labels(placed, FRAME), strict=True)):
            if label is not None:
                _draw_label(axes, label, f"label-{index}", is_ours=mark["kind"] == "ours")
        return {f"mark-{index}": mark.tip for index, mark in enumerate(marks)}

    return drawn(FRAME, title, paint)


def _scale(axes: Axes, marks: Sequence[Mark], axis: Axis) -> None:
    """Lay out both axes, their texts, the line of the teacher and the key."""
    left, top, right, _ = FRAME.plot
    ends = [value for mark in marks for value in (mark.low, mark.high, mark.retention) if value is not None]
    low, high = padded(min([*ends, 100.0]), max([*ends, 100.0]))
    axis.scale(axes, max([axis.least, *(mark.at for mark in marks)]), STEP / (right - left - 2 * STEP))
    axes.set_ylim(low, high)
    axes.set_yticks(ticks(low, high, 6), [f"{tick:g}" for tick in ticks(low, high, 6)])
    axes.grid(axis="y")
    axes.axhline(100.0, color=LIGHT["quiet"], linewidth=1, dashes=(3, 4))
    axes.text(8, top - 10, "retention (% of the teacher's)", transform=pixels(axes))
    axes.text(right, FRAME.height - 10, axis.text, transform=pixels(axes), ha="right")
    for index, (kind, text) in enumerate(KINDS.items()):
        across = left + 8 + 270 * index
        axes.add_line(_marker(axes, kind, [across], [16.0]))
        axes.text(across + 14, 20, text, transform=pixels(axes))


def _placed(axes: Axes, marks: Sequence[Mark], axis: Axis) -> list[dict[str, Any]]:
    """Where the marks stand in pixels, moved aside, as the placing of labels takes them."""

    def down(mark: Mark, retention: float | None) -> float | None:
        return None if retention is None else place(axes, axis.stand(mark.at), retention)[1]

    placed: list[dict[str, Any]] = []
    for mark in marks:
        x, y = place(axes, axis.stand(mark.at), mark.retention)
        ends = {"low": down(mark, mark.low), "high": down(mark, mark.high)}
        own = {"kind": mark.kind, "name": mark.name, "is_shipped": mark.kind == "ours"}
        placed.append({"x": x, "y": y, "r": FRAME.radius, **ends, **own})
    rows = [[value for value in (point["low"], point["high"], point["y"]) if value is not None] for point in placed]
    left, _, right, _ = FRAME.plot
    stand = [(point["x"], point["y"], min(ends), max(ends)) for point, ends in zip(placed, rows, strict=True)]
    for point, x in zip(placed, aside(stand, left + STEP, right - STEP), strict=True):
        point["x"] = x
    return placed


def _marker(axes: Axes, kind: str, across: Sequence[float], down: Sequence[float], shown: int = 0) -> Line2D:
    """A line in pixels with a mark at one of its points."""
    shape, ground, edge = MARKERS[kind]
    size = 2 * FRAME.radius * (1.0 if shape == "o" else 0.8)
    line = Line2D(across, down, color=LIGHT[edge], linewidth=1.6, marker=shape, markersize=size, markevery=[shown])
    line.set(transform=pixels(axes), markerfacecolor=LIGHT[ground], markeredgewidth=1.6, clip_on=False)
    return line


def _draw_mark(axes: Axes, mark: Mapping[str, Any], gid: str) -> None:
    down = [mark["y"]] if mark["low"] is None or mark["high"] is None else [mark["low"], mark["y"], mark["high"]]
    axes.add_line(_marker(axes, mark["kind"], [mark["x"]] * len(down), down, len(down) // 2)).set_gid(gid)


def _draw_label(axes: Axes, label: Mapping[str, Any], gid: str, *, is_ours: bool) -> None:
    if label["leader"]:
        x1, y1, x2, y2 = label["leader"]
        axes.plot([x1, x2], [y1, y2], color=LIGHT["quiet"], linewidth=0.8, transform=pixels(axes), clip_on=False)
    written = axes.text(label["x"], label["y"], label["text"], transform=pixels(axes), gid=gid)
    written.set(fontsize=11, fontweight="bold" if is_ours else "normal", color=LIGHT["ink"])


def aside(marks: Sequence[tuple[float, float, float, float]], low: float, high: float) -> list[float]:
    """Where marks stand across, so that no two cover each other: each as near to its own place as those before it let it be.

    Args:
        marks: Each one's place across and down, and the upper and the lower end of its seeds' line.
        low: Where the line begins.
        high: Where it ends.
    """
    placed: list[tuple[float, ...]] = []
    tries = math.ceil((high - low) / SHIFT)
    for own, *rows in marks:
        taken = [(x, _room(rows, others)) for x, *others in placed]
        near = (own + SHIFT * number * side for number in range(tries) for side in (1, -1))
        free = (x for x in near if low <= x <= high and all(abs(x - other) >= room for other, room in taken))
        placed.append((next(free, own), *rows))
    return [x for x, *_ in placed]


def _room(rows: Sequence[float], others: Sequence[float]) -> float:
    """How far apart two marks must stand across: each given by its place down and the ends of its line."""
    (own, top, bottom), (other, upper, lower) = rows, others
    if abs(own - other) < 2 * FRAME.radius:
        return STEP
    return HAIR if upper - FRAME.radius < bottom and top - FRAME.radius < lower else 0.0
