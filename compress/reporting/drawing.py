"""Let matplotlib draw a figure, and keep it as an SVG that stands alone, follows light and dark, and is the same every time.

Colours are variables of the page, and texts are texts in the reader's own font, so that a figure looks like the page that
shows it; what matplotlib would write about itself, the day and other places is left out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, Transform

from compress.reporting.figures import Frame

DOTS = 72  # to the inch: one of matplotlib's points is one of a frame's pixels
LIGHT = {
    "card": "#ffffff",
    "ink": "#1b2025",
    "quiet": "#5a646e",
    "line": "#e2e5e9",
    "blue": "#1d5fc2",
    "orange": "#b4540a",
    "green": "#2d7a33",
    "violet": "#8a3fa8",
    "red": "#a8203c",
}
DARK = {
    "card": "#1a1e22",
    "ink": "#e5e8eb",
    "quiet": "#9ba5af",
    "line": "#2d3339",
    "blue": "#7db1ff",
    "orange": "#f0a35e",
    "green": "#7fcf86",
    "violet": "#d19aef",
    "red": "#ff8fa3",
}
SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["quiet"],
    "axes.facecolor": "none",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": DOTS,
    "figure.facecolor": LIGHT["card"],
    "font.sans-serif": ["DejaVu Sans"],  # which comes with matplotlib; the page's style names the reader's
    "font.size": 12,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 1,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bert-compress",
    "text.color": LIGHT["quiet"],
    "text.parse_math": False,
    "xtick.color": LIGHT["quiet"],
    "xtick.major.size": 5,
    "xtick.minor.size": 0,
    "ytick.color": LIGHT["quiet"],
    "ytick.labelcolor": LIGHT["quiet"],
    "ytick.left": False,
    "ytick.minor.left": False,
}
_FONT = 'text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif !important; }'
_LABEL = '[id^="label-"] text { paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round; }'
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def drawn(frame: Frame, title: str, paint: Callable[[Axes], Mapping[str, str]]) -> str:
    """Return the SVG of a figure.

    Args:
        frame: How large it is, and where its axes stand.
        title: For readers that see no image.
        paint: Draws into the axes, in the colours of LIGHT. It returns the texts that hovering shows, by the `gid` of what is
            hovered over; labels whose gid begins with "label-" get an edge in the colour of the ground.
    """
    left, top, right, bottom = frame.plot
    wide, high = frame.width, frame.height
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        figure = Figure(figsize=(wide / DOTS, high / DOTS))
        axes = figure.add_axes((left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high))
        tips = paint(axes)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=NO_METADATA)
    return _alone(written.getvalue(), title, tips)


def pixels(axes: Axes) -> Transform:
    """The transform of places in the frame's own pixels, counted from its upper left corner."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "it was made with its axes"
    return Affine2D().scale(1 / DOTS, -1 / DOTS).translate(0, figure.get_figheight()) + figure.dpi_scale_trans


def place(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a value of the axes stands in the frame's own pixels."""
    across, down = pixels(axes).inverted().transform(axes.transData.transform((x, y)))
    return round(float(across), 6), round(float(down), 6)  # what is at an end is inside of it


def _alone(text: str, title: str, tips: Mapping[str, str]) -> str:
    """Make matplotlib's SVG one that names no other place, scales with its page, and tells what it shows."""
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None, "matplotlib tells the size"
    body = text[text.index(">", size.end()) + 1 :].replace("xlink:href=", "href=")
    for name, colour in LIGHT.items():
        body = body.replace(colour, f"var(--{name})")
    for gid, tip in tips.items():
        body = body.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(tip)}</title>')
    light, dark = ("; ".join(f"--{name}: {colour}" for name, colour in palette.items()) for palette in (LIGHT, DARK))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size[0]} role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        "<style>",
        f"svg {{ {light}; }}",
        f"@media (prefers-color-scheme: dark) {{ svg {{ {dark}; }} }}",
        _FONT,
        _LABEL,
        "</style>",
    ]
    body = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", body)
    return "\n".join([*head, *(line.strip() for line in body.splitlines() if line.strip())]) + "\n"
