"""What every figure of the pages keeps: it is the same each time, follows light and dark, and leaves matplotlib as it was."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.axes import Axes

from compress.reporting.drawing import DARK, LIGHT, drawn, pixels, place
from compress.reporting.figures import Frame

FRAME = Frame(200, 100, left=20, top=10, right=30, bottom=40, radius=3, letters=10)
SVG = "{http://www.w3.org/2000/svg}"


def paint(axes: Axes) -> dict[str, str]:
    """A line, a name, and a text that hovering shows."""
    axes.plot([0, 1], [0, 1], color=LIGHT["blue"], gid="line-0")
    axes.text(30, 20, "$a_1$ <&>", transform=pixels(axes), gid="label-0")
    return {"line-0": "of <a> & b"}


def test_a_figure_is_the_same_every_time() -> None:
    assert drawn(FRAME, "title", paint) == drawn(FRAME, "title", paint)


def test_colours_are_the_page_s_and_change_in_the_dark() -> None:
    head, _, body = drawn(FRAME, "title", paint).partition("</style>")
    light, dark = head.split("@media (prefers-color-scheme: dark)")
    assert re.findall(r"--(\w+): (#\w+)", light) == list(LIGHT.items())
    assert re.findall(r"--(\w+): (#\w+)", dark) == list(DARK.items())
    assert re.findall("#[0-9a-f]{6}", body) == []
    assert "var(--blue)" in body


def test_texts_stay_texts_and_tips_stand_where_they_belong() -> None:
    root = ElementTree.fromstring(drawn(FRAME, "a < b", paint))
    assert (root.get("viewBox"), root.get("width"), root.get("aria-label")) == ("0 0 200 100", None, "a < b")
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    tip, label = groups["line-0"].find(f"{SVG}title"), groups["label-0"].find(f"{SVG}text")
    assert tip is not None
    assert tip.text == "of <a> & b"
    assert label is not None
    assert (label.text, float(label.get("x", "")), float(label.get("y", ""))) == ("$a_1$ <&>", 30.0, 20.0)


def test_places_are_told_in_the_frame_s_pixels() -> None:
    places = []

    def paint(axes: Axes) -> dict[str, str]:
        axes.set(xlim=(0, 10), ylim=(0, 1))
        places.extend([place(axes, 0, 0), place(axes, 5, 1)])
        return {}

    drawn(FRAME, "title", paint)
    assert places == [pytest.approx((20, 60)), pytest.approx((95, 10))]


def test_settings_of_the_user_neither_matter_nor_change() -> None:
    expected = drawn(FRAME, "title", paint)
    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": True}):
        assert drawn(FRAME, "title", paint) == expected
        assert matplotlib.rcParams["font.size"] == 30.0
