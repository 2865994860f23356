"""Draw a landscape: the lines between models, the rise around each, and planes by their contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from compress.reporting.drawing import LIGHT, drawn, pixels
from compress.reporting.figures import Frame, shortened

FRAME = Frame(860, 430, left=64, top=44, right=214, bottom=52, radius=4, letters=26)
SQUARE = Frame(640, 560, left=72, top=44, right=24, bottom=52, radius=4, letters=30)
COLOURS = tuple(LIGHT[name] for name in ("blue", "orange", "green", "violet", "red", "quiet"))
LEVELS = 14


def figures_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the SVG of each figure by the name of its file."""
    figures = {"rise.svg": draw_rises(record["models"])}
    if record["lines"]:
        figures["lines.svg"] = draw_lines(record["lines"])
    if record["plane"]:
        title = "Loss in the plane of the models (distances between weights)"
        figures["plane.svg"] = draw_surface(record["plane"], title, is_trajectory=record["plane"]["explained"] is not None)
    for index, surface in enumerate(record["around"], 1):
        title = f"Loss around {surface['places'][0]['name']} (parts of each filter's length)"
        figures[f"around-{index}.svg"] = draw_surface(surface, title)
    return figures


def draw_lines(lines: Sequence[Mapping[str, Any]], title: str = "Loss on the line between two models") -> str:
    """Draw losses against the place on a line; the first model stands at 0, the second at 1."""

    def paint(axes: Axes) -> dict[str, str]:
        tips = {}
        for index, line in enumerate(lines):
            colour, name = COLOURS[index % len(COLOURS)], f"{line['from']} \u2192 {line['to']}"
            axes.plot(line["alphas"], line["losses"], color=colour, linewidth=2, gid=f"line-{index}")
            ends = [line["losses"][line["alphas"].index(place)] for place in (0.0, 1.0)]
            axes.plot([0, 1], ends, "o", color=colour, markersize=2 * FRAME.radius)
            tips[f"line-{index}"] = f"{name}: {ends[0]:.3g} to {ends[1]:.3g}"
            _key(axes, index, name, colour)
        for place in (0, 1):
            axes.axvline(place, color=LIGHT["line"], linewidth=1)
        _texts(axes, FRAME, "loss", "part of the way from the first model to the second")
        return tips

    return drawn(FRAME, title, paint)


def draw_rises(models: Sequence[Mapping[str, Any]], title: str = "Rise of the loss around models") -> str:
    """Draw the mean rise of the loss against the radius, with bands of one standard error."""

    def paint(axes: Axes) -> dict[str, str]:
        tips = {}
        for index, model in enumerate(models):
            colour = COLOURS[index % len(COLOURS)]
            radii = [0.0, *(point["radius"] for point in model["curve"])]
            means = np.array([0.0, *(point["mean"] for point in model["curve"])])
            errors = np.array([0.0, *(point["standard_error"] or 0.0 for point in model["curve"])])
            axes.plot(radii, means, color=colour, linewidth=2, marker="o", markersize=FRAME.radius, gid=f"rise-{index}")
            axes.fill_between(radii, means - errors, means + errors, color=colour, alpha=0.2, linewidth=0)
            tips[f"rise-{index}"] = f"{model['name']}: {means[-1]:.3g} at {radii[-1]:g}"
            _key(axes, index, model["name"], colour)
        _texts(axes, FRAME, "rise of the loss", "radius: part of each filter's length")
        return tips

    return drawn(FRAME, title, paint)


def draw_surface(surface: Mapping[str, Any], title: str, *, is_trajectory: bool = False) -> str:
    """Draw the contours of a plane's losses, and the models in it.

    Args:
        surface: `x`, `y`, `losses` (y, x), and `places`: name, x and y of each model.
        title: Stands above it too.
        is_trajectory: Whether the models are joined in their order.
    """

    def paint(axes: Axes) -> dict[str, str]:
        losses = np.array(surface["losses"])
        low, high = float(losses.min()), float(losses.max())
        if high > low:
            levels = low + (high - low) * np.linspace(0, 1, LEVELS + 2)[1:-1] ** 2  # closer together where it is low
            contours = axes.contour(surface["x"], surface["y"], losses, levels=levels, colors=LIGHT["blue"], linewidths=1)
            axes.clabel(contours, fmt="%.3g", fontsize=10)
        places, tips = surface["places"], {}
        x, y = [place["x"] for place in places], [place["y"] for place in places]
        axes.plot(x, y, color=LIGHT["orange"], linewidth=1.6 if is_trajectory else 0, marker="o", markersize=2 * SQUARE.radius)
        for index, place in enumerate(places):
            label = axes.annotate(place["name"], (place["x"], place["y"]), (6, 6), textcoords="offset points")
            label.set(color=LIGHT["ink"], fontweight="bold", fontsize=11, gid=f"label-{index}")
            tips[f"label-{index}"] = place["name"]
        _texts(axes, SQUARE, title, "")
        return tips

    return drawn(SQUARE, title, paint)


def _key(axes: Axes, index: int, name: str, colour: str) -> None:
    """Name a line beside the axes, one below the other, in its colour."""
    _, top, right, _ = FRAME.plot
    text = axes.text(right + 14, top + 12 + 18 * index, shortened(name, FRAME.letters), color=colour, transform=pixels(axes))
    text.set(fontsize=11, fontweight="bold", gid=f"label-{index}")


def _texts(axes: Axes, frame: Frame, above: str, below: str) -> None:
    axes.tick_params(axis="y", labelleft=True)
    axes.grid(axis="y")
    axes.text(8, frame.top - 16, above, transform=pixels(axes))
    axes.text(frame.width - frame.right, frame.height - 10, below, transform=pixels(axes), ha="right")
