"""Draw a sweep: its front, what decides each objective, and each objective against each key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from compress.reporting.drawing import LIGHT, drawn, pixels
from compress.reporting.figures import Frame, shortened

FRAME = Frame(860, 430, left=84, top=44, right=24, bottom=52, radius=4, letters=30)
BARS = Frame(860, 430, left=284, top=44, right=64, bottom=52, radius=4, letters=38)
MOST_SLICES = 12


def figures_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the SVG of each figure by the name of its file."""
    names = list(record["objectives"])
    figures = {f"front-{other}.svg": draw_front(record, other, names[0]) for other in names[1:]}
    for name, shares in record["importance"].items():
        figures[f"importance-{name}.svg"] = draw_importance(name, shares)
    for number, key in enumerate(list(record["space"])[:MOST_SLICES]):
        stem = re.sub(r"[^A-Za-z0-9_]+", "-", key).strip("-") or str(number)
        figures[f"slice-{number}-{stem}.svg"] = draw_slice(record, key, names[0])
    return figures


def draw_front(record: Mapping[str, Any], across: str, up: str) -> str:
    """Draw two objectives against each other; a line joins the trials of the front."""
    points = [(trial["values"][across], trial["values"][up], trial["number"]) for trial in _judged(record)]
    on_front = sorted(point for point in points if point[2] in record["front"])

    def paint(axes: Axes) -> dict[str, str]:
        axes.plot([x for x, _, _ in on_front], [y for _, y, _ in on_front], color=LIGHT["blue"], linewidth=1.6, gid="pareto")
        tips = {"pareto": "the front"}
        for x, y, number in points:
            colour = LIGHT["blue"] if number in record["front"] else LIGHT["quiet"]
            axes.plot([x], [y], "o", color=colour, markersize=2 * FRAME.radius, gid=f"trial-{number}")
            tips[f"trial-{number}"] = f"trial {number}: {across} {x:.4g}, {up} {y:.4g}"
        _texts(axes, FRAME, up, across)
        return tips

    return drawn(FRAME, f"{up} against {across}, and the front of the sweep", paint)


def draw_importance(objective: str, shares: Mapping[str, float]) -> str:
    """Draw the share of each key in what decides an objective."""

    def paint(axes: Axes) -> dict[str, str]:
        keys = list(shares)[::-1]
        axes.barh(range(len(keys)), [shares[key] for key in keys], color=LIGHT["blue"], height=0.6)
        axes.set_yticks(range(len(keys)), [shortened(key, BARS.letters) for key in keys])
        for place, key in enumerate(keys):
            axes.annotate(f"{shares[key]:.2f}", (shares[key], place), (6, -4), textcoords="offset points")
        _texts(axes, BARS, f"what decides {objective}", "share (fANOVA)")
        return {}

    return drawn(BARS, f"What decides {objective}", paint)


def draw_slice(record: Mapping[str, Any], key: str, objective: str) -> str:
    """Draw an objective against what was chosen for one key."""
    trials = _judged(record)
    chosen = [trial["overrides"][key] for trial in trials]
    dimension = record["space"][key]
    texts = [json.dumps(value, sort_keys=True) for value in dimension.get("choices", [])]

    def paint(axes: Axes) -> dict[str, str]:
        places: Sequence[float] = [texts.index(json.dumps(value, sort_keys=True)) for value in chosen] if texts else chosen
        tips = {}
        if dimension.get("log"):
            axes.set_xscale("log")
        for place, trial in zip(places, trials, strict=True):
            colour, value = LIGHT["blue"] if trial["number"] in record["front"] else LIGHT["quiet"], trial["values"][objective]
            axes.plot([place], [value], "o", color=colour, markersize=2 * FRAME.radius, gid=f"trial-{trial['number']}")
            tips[f"trial-{trial['number']}"] = f"trial {trial['number']}: {objective} {value:.4g}"
        if texts:
            axes.set_xticks(range(len(texts)), [shortened(text, FRAME.letters) for text in texts])
        _texts(axes, FRAME, objective, shortened(key, 2 * FRAME.letters))
        return tips

    return drawn(FRAME, f"{objective} against {key}", paint)


def _judged(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [trial for trial in record["trials"] if trial["values"] is not None]


def _texts(axes: Axes, frame: Frame, above: str, below: str) -> None:
    axes.tick_params(axis="y", labelleft=True)
    axes.grid(axis="y" if frame is FRAME else "x")
    axes.text(8, frame.top - 16, above, transform=pixels(axes))
    axes.text(frame.width - frame.right, frame.height - 10, below, transform=pixels(axes), ha="right")
