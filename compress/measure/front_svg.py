"""Draw what students retain against what they compute, or against their speed; the template only writes the marks down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compress.measure.report import template
from compress.measure.report_figures import Frame, padded, place_labels, ticks

TEMPLATE = "front.svg.jinja"
FRAME = Frame(1040, 680, left=52, top=56, right=34, bottom=52, radius=6, letters=30)
KINDS = {"ours": "ours: mean and range of seeds", "dev": "published, GLUE dev", "test": "published, GLUE test"}
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

    def part(self, value: float, highest: float) -> float:
        """How far along the axis a value stands, 0 to 1."""
        return math.log(max(value, 1.0)) / math.log(highest) if self.is_log else value / highest

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
    left, top, right, bottom = FRAME.plot
    ends = [value for mark in marks for value in (mark.low, mark.high, mark.retention) if value is not None]
    y_low, y_high = padded(min([*ends, 100.0]), max([*ends, 100.0]))
    x_high = max([axis.least, *(mark.at for mark in marks)])

    def across(value: float) -> float:
        return left + STEP + (right - left - 2 * STEP) * axis.part(value, x_high)

    def down(retention: float) -> float:
        return bottom - (bottom - top) * (retention - y_low) / (y_high - y_low)

    def stand(mark: Mark) -> tuple[float, float, float, float]:
        ends = [down(value) for value in (mark.low, mark.high, mark.retention) if value is not None]
        return across(mark.at), down(mark.retention), min(ends), max(ends)

    places = aside([stand(mark) for mark in marks], left + STEP, right - STEP)
    drawn: list[dict[str, Any]] = [
        {
            "x": x,
            "y": down(mark.retention),
            "r": FRAME.radius,
            "kind": mark.kind,
            "name": mark.name,
            "tip": mark.tip,
            "low": None if mark.low is None else down(mark.low),
            "high": None if mark.high is None else down(mark.high),
            "is_shipped": mark.kind == "ours",
        }
        for mark, x in zip(marks, places, strict=True)
    ]
    for mark, label in zip(drawn, place_labels(drawn, FRAME), strict=True):
        mark["label"] = label
    return template(TEMPLATE).render(
        title=title,
        axis=axis.text,
        frame=FRAME,
        plot=FRAME.plot,
        marks=drawn,
        whole=down(100.0),
        x_ticks=[{"at": across(tick), "text": f"{tick:g}"} for tick in axis.ticks(x_high)],
        y_ticks=[{"at": down(tick), "text": f"{tick:g}"} for tick in ticks(y_low, y_high, 6)],
        key=[{"kind": kind, "text": text, "x": left + 8 + 270 * index} for index, (kind, text) in enumerate(KINDS.items())],
    )


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
