"""The figures of a landscape: what each shows, and how it is named."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from compress.landscapes.figure import draw_lines, draw_rises, draw_surface, figures_of

SVG = "{http://www.w3.org/2000/svg}"
LINE = {"from": "start", "to": "tuned", "alphas": [-0.5, 0.0, 1.0, 1.5], "losses": [0.8, 0.7, 0.2, 0.3]}
MODELS = [
    {
        "name": name,
        "curve": [
            {"radius": 0.1, "mean": 0.2, "standard_error": error},
            {"radius": 0.2, "mean": 0.4, "standard_error": error},
        ],
    }
    for name, error in (("dense", 0.1), ("int8", None))
]
SURFACE: dict[str, Any] = {
    "x": [0.0, 1.0, 2.0],
    "y": [0.0, 1.0],
    "losses": [[0.1, 0.2, 0.3], [0.2, 0.3, 0.9]],
    "places": [{"name": "dense", "x": 0.5, "y": 0.5}, {"name": "half", "x": 1.5, "y": 0.5}],
    "explained": None,
}


def texts(svg: str) -> list[str]:
    """What is written in a figure."""
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def tips(svg: str) -> list[str]:
    """What hovering shows, and the figure's own title."""
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def test_a_line_is_named_and_tells_its_ends() -> None:
    svg = draw_lines([LINE])
    assert "start \u2192 tuned" in texts(svg)
    assert "start \u2192 tuned: 0.7 to 0.2" in tips(svg)


def test_long_names_are_cut_where_there_is_no_room() -> None:
    long = "a_model_with_a_name_that_is_longer_than_the_figure_is_wide"
    assert not [text for text in texts(draw_lines([{**LINE, "from": long}])) if long in text]


def test_the_rise_around_each_model_is_drawn_with_or_without_an_error() -> None:
    svg = draw_rises(MODELS)
    assert {"dense", "int8"} <= set(texts(svg))
    assert "dense: 0.4 at 0.2" in tips(svg)


@pytest.mark.parametrize("losses", [SURFACE["losses"], [[0.5] * 3] * 2])
def test_a_plane_shows_its_models_even_where_it_is_flat(losses: list[list[float]]) -> None:
    assert {"dense", "half", "A plane"} <= set(texts(draw_surface({**SURFACE, "losses": losses}, "A plane")))


def test_each_part_of_a_landscape_has_a_figure() -> None:
    around = {**SURFACE, "places": SURFACE["places"][:1]}
    record: dict[str, Any] = {"models": MODELS, "lines": [LINE], "plane": SURFACE, "around": [around, around]}
    figures = figures_of(record)
    assert list(figures) == ["rise.svg", "lines.svg", "plane.svg", "around-1.svg", "around-2.svg"]
    assert figures == figures_of(record)  # the same every time
    assert "Loss around dense (parts of each filter's length)" in tips(figures["around-1.svg"])
    assert list(figures_of({**record, "lines": [], "plane": None, "around": []})) == ["rise.svg"]
