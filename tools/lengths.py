"""Lay out what reading longer and longer texts takes, and from which length on a way to attend pays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from compress import record
from compress.benchmark.subjects import read_json
from compress.errors import InputError
from compress.record import MISSING, finite, part
from compress.reporting.drawing import LIGHT, drawn, pixels, place
from compress.reporting.figures import Frame, log_range, log_ticks

SCHEMA = 1
FRAME = Frame(900, 460, left=58, top=44, right=252, bottom=52, radius=3, letters=36)
DENSE = "full attention"
COLOURS = tuple(LIGHT[name] for name in ("quiet", "blue", "orange", "green", "violet", "red"))
LABEL = 18.0  # between two labels, in pixels
Times = dict[int, float]  # milliseconds by tokens


def lengths_block(path: Path, link: str) -> tuple[str, dict[str, str]]:
    """Lay out a result of benchmarks/long_inputs.py.

    Args:
        path: {schema: 1, rows: [{name, length, p50_ms, peak_memory_bytes}], machine, ...}; a name is that of the attention,
            a comma, and what runs it.
        link: Where the file lies, as seen from the page.

    Returns:
        The Markdown, and its figures, an SVG for each runtime of files, by the names of those that lie beside the file.

    Raises:
        InputError: The file is missing, damaged, or of another schema.
    """
    content = read_json(path)
    rows = content.get("rows")
    if content.get("schema") != SCHEMA or not isinstance(rows, list) or not _rows_are_whole(rows):
        raise InputError(
            f"{path} holds no rows of schema {SCHEMA}, each with name, length and p50_ms; run benchmarks/long_inputs.py again."
        )
    times: dict[str, Times] = {}
    for row in rows:
        times.setdefault(row["name"], {})[row["length"]] = row["p50_ms"]
    runtimes = sorted({ran for attention, _, ran in (name.partition(", ") for name in times) if attention == DENSE and ran})
    figures, shown = {}, []
    for runtime in runtimes:
        file, title = f"{path.stem}_{runtime}.svg", f"Time per token against length, {runtime}"
        lines = {name: ms_at for name, ms_at in times.items() if _runs_in(name, runtime) or not _is_file(name)}
        figures[file] = draw_lengths(lines, title, runtime)
        shown.append(f"![{title}]({link.rpartition('/')[0]}/{file})")
    sentences = [text for runtime in runtimes if (text := _told(times, runtime))]
    return "\n\n".join([*shown, _table(rows), *sentences, _origin(content)]), figures


def _rows_are_whole(rows: Sequence[Any]) -> bool:
    return bool(rows) and all(
        isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and type(row.get("length")) is int
        and row["length"] > 0
        and (finite(row.get("p50_ms")) or 0) > 0
        for row in rows
    )


def _is_file(name: str) -> bool:
    return "-" in name.partition(", ")[2]  # as in onnxruntime-cpu


def _runs_in(name: str, runtime: str) -> bool:
    return name.endswith(f", {runtime}")


def break_even(own: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """From how many tokens on `own` takes less time than `other` does, at all lengths that both were measured at.

    Between two lengths times are taken to grow as a power. 0 where it takes less at the shortest already, None where it takes
    more at the longest.
    """
    lengths = sorted(own.keys() & other.keys())
    ratios = [math.log(own[length] / other[length]) for length in lengths]
    slower = [index for index, ratio in enumerate(ratios) if ratio >= 0]
    if not slower:
        return 0.0
    last = slower[-1]
    if last == len(lengths) - 1:
        return None
    way = ratios[last] / (ratios[last] - ratios[last + 1])
    return float(lengths[last] * (lengths[last + 1] / lengths[last]) ** way)


def _told(times: Mapping[str, Times], runtime: str) -> str:
    """A sentence on where each way breaks even in a runtime; none where nothing stands beside full attention."""
    dense = times.get(f"{DENSE}, {runtime}", {})
    ways = []
    for name, own in times.items():
        attention, _, ran = name.partition(", ")
        both = own.keys() & dense.keys()
        if ran == runtime and attention != DENSE and both:
            faster = f"({record.times(dense[max(both)] / own[max(both)])} at {max(both):,})"
            ways.append(f"{attention} {_from(break_even(own, dense))} {faster}")
    return record.markdown_text(f"In {runtime} less time than full attention takes: {', '.join(ways)}.") if ways else ""


def _from(tokens: float | None) -> str:
    if tokens is None:
        return "at no length"
    return f"from about {float(f'{tokens:.2g}'):,.0f} tokens on" if tokens else "at every length"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lengths = sorted({row["length"] for row in rows})
    by_place = {(row["name"], row["length"]): row for row in rows}

    def cell(name: str, length: int) -> str:
        row = by_place.get((name, length))
        if row is None:
            return MISSING
        memory = finite(row.get("peak_memory_bytes"))
        took = record.milliseconds(row["p50_ms"]).removesuffix(" ms")
        return took if memory is None else f"{took} ({record.number(memory / 1e6, 0)})"

    names = dict.fromkeys(row["name"] for row in rows)
    return record.markdown_table(
        ["ms (MB) at so many tokens", *(f"{length:,}" for length in lengths)],
        [[name, *(cell(name, length) for length in lengths)] for name in names],
    )


def _origin(content: Mapping[str, Any]) -> str:
    place, is_gpu = part(content, "machine"), content.get("device") == "cuda"
    rounds = content.get("rounds")
    text = (
        f"Medians of {rounds} round{'' if rounds == 1 else 's'} in turn, fresh processes, batch {content.get('batch')}, "
        f"{content.get('threads')} thread, {content.get('precision')}, on {place.get('gpu' if is_gpu else 'cpu')}; in "
        f"brackets the most memory that {'torch held on the GPU' if is_gpu else 'the process held'}. "
        f"{content.get('model')}."
    )
    return record.markdown_text(text)


def draw_lengths(lines: Mapping[str, Times], title: str, runtime: str) -> str:
    """Return an SVG of the time per thousand tokens against the length, both axes logarithmic, each line with its name.

    Args:
        lines: Milliseconds by tokens; at least one.
        title: For readers that see no image.
        runtime: Lines of another one are dashed.
    """
    paces = {name: {length: ms / length * 1000 for length, ms in ms_at.items()} for name, ms_at in lines.items()}

    def paint(axes: Axes) -> dict[str, str]:
        _scale(axes, paces)
        ends = [place(axes, max(pace_at), pace_at[max(pace_at)]) for pace_at in paces.values()]
        _, top, _, bottom = FRAME.plot
        labels = apart([y for _, y in ends], top, bottom)
        tips = {}
        for index, ((name, pace_at), end, label) in enumerate(zip(paces.items(), ends, labels, strict=True)):
            dashes = (None, None) if _runs_in(name, runtime) else (2.5, 2)  # times the line's width
            _draw_way(axes, pace_at, f"way-{index}", COLOURS[index % len(COLOURS)], dashes)
            _draw_name(axes, name, end, label, f"name-{index}", COLOURS[index % len(COLOURS)])
            steps = ", ".join(f"{length:,}: {pace:.3g} ms" for length, pace in sorted(pace_at.items()))
            tips[f"way-{index}"] = tips[f"name-{index}"] = f"{name}: {steps}"
        return tips

    return drawn(FRAME, title, paint)


def _scale(axes: Axes, paces: Mapping[str, Times]) -> None:
    """Lay out both axes and their texts."""
    _, top, right, _ = FRAME.plot
    lengths = sorted({length for pace_at in paces.values() for length in pace_at})
    low, high = log_range([pace for pace_at in paces.values() for pace in pace_at.values()])
    axes.set(xscale="log", yscale="log", xlim=(lengths[0], max(lengths[-1], lengths[0] * 1.001)), ylim=(low, high))
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.set_yticks(log_ticks(low, high), [f"{tick:g}" for tick in log_ticks(low, high)])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.text(8, top - 16, "ms per 1,000 tokens (both axes logarithmic; less is better)", transform=pixels(axes))
    axes.text(right, FRAME.height - 10, "tokens of a text", transform=pixels(axes), ha="right")


def _draw_way(axes: Axes, paces: Times, gid: str, colour: str, dashes: tuple[float | None, float | None]) -> None:
    lengths = sorted(paces)
    (line,) = axes.plot(lengths, [paces[length] for length in lengths], color=colour, linewidth=2, dashes=dashes, gid=gid)
    line.set(marker="o", markersize=2 * FRAME.radius, markeredgewidth=0, clip_on=False)


def _draw_name(axes: Axes, name: str, end: tuple[float, float], label: float, gid: str, colour: str) -> None:
    """Write a line's name at the right, and lead there from the line's end."""
    across = FRAME.plot[2] + 15
    axes.plot([end[0] + 4, across - 3], [end[1], label], color=colour, linewidth=0.8, transform=pixels(axes), clip_on=False)
    written = axes.text(across, label + 4, name, color=colour, transform=pixels(axes), gid=gid)
    written.set(fontsize=11, fontweight="bold")


def apart(places: Sequence[float], low: float, high: float) -> list[float]:
    """Move places on a line so that LABEL lies between each two, those that crowd about their mean, all inside the ends."""

    def start(group: Sequence[int]) -> float:
        room = LABEL * (len(group) - 1)
        return max(low, min(fmean(places[index] for index in group) - room / 2, high - room))

    groups: list[list[int]] = []
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        group = [index]
        while groups and start(group) < start(groups[-1]) + LABEL * len(groups[-1]):
            group = groups.pop() + group
        groups.append(group)
    moved = list(places)
    for group in groups:
        for position, index in enumerate(group):
            moved[index] = start(group) + LABEL * position
    return moved
