"""Read a run record (the dict of run.json): which subject is which, its numbers as text, and files that tell of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.disk import write_lasting
from compress.errors import CompressError
from compress.measures import MARGINS, is_less_better, margin_kept

MISSING = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"

Setting = tuple[str, int, int, int]
OF_DATA = -1
"""The length of a setting whose batches have lengths as the data has."""
PREFERRED: Setting = ("cpu", 1, 32, 1)


def finite(value: Any) -> float | None:
    """The value as a float, or None when it is no number, infinite or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return as_float if math.isfinite(as_float) else None


def interval(value: Any) -> tuple[float, float] | None:
    """The two ends of an interval, or None when one of them is missing."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    low, high = finite(value[0]), finite(value[1])
    return None if low is None or high is None else (low, high)


def part(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A nested mapping, empty when it is missing or null."""
    nested = mapping.get(key)
    return dict(nested) if isinstance(nested, Mapping) else {}


def number(value: Any, digits: int = 1) -> str:
    """A plain number with so many digits after the point, its minus a real one."""
    amount = finite(value)
    if amount is None:
        return MISSING
    text = f"{amount:,.{digits}f}"
    if not text.strip("-0.,"):
        return text.removeprefix("-")
    return text.replace("-", MINUS)


def percent(fraction: Any, digits: int = 1) -> str:
    """A fraction (0 to 1) as "90.8 %"."""
    share = finite(fraction)
    return MISSING if share is None else f"{number(share * 100, digits)} %"


def score(metric: str, value: Any) -> str:
    """A score as "90.8 %", or as "12.34" where it is a perplexity."""
    return bare_score(metric, value) if is_less_better(metric) else percent(value)


def bare_score(metric: str, value: Any) -> str:
    """The same without a unit."""
    return number(value, 2) if is_less_better(metric) else points(value)


def unit_of(metric: str) -> str:
    """What stands behind such scores: " %", or nothing."""
    return "" if is_less_better(metric) else " %"


def between(metric: str, ends: tuple[float, float]) -> str:
    """Both ends of a score's interval: "90.1 to 91.2", without a unit."""
    return f"{bare_score(metric, ends[0])} to {bare_score(metric, ends[1])}"


def points(fraction: Any) -> str:
    """A difference of two fractions in percentage points, without a unit."""
    share = finite(fraction)
    return MISSING if share is None else number(share * 100, 1)


def within(metric: str, ends: Any) -> str:
    """What a loss' 95 % interval shows: "within 1 point at 95 %", "no worse at 95 %", or "not shown to be within 5 points"."""
    bounds = interval(ends)
    if bounds is None:
        return ""
    margin = margin_kept(bounds[1])
    if margin == 0:
        return "no worse at 95 %"
    return (
        f"not shown to be within {margin_words(metric, MARGINS[-1])}"
        if margin is None
        else f"within {margin_words(metric, margin)} at 95 %"
    )


def margin_words(metric: str, margin: float) -> str:
    """A margin of a loss: "1 point", "0.5 points", or "1 %" where a perplexity rises."""
    amount = f"{margin * 100:g}"
    return f"{amount} %" if is_less_better(metric) else f"{amount} point{'' if amount == '1' else 's'}"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def milliseconds(value: Any) -> str:
    """Milliseconds to three digits: "12.3 ms"."""
    ms = finite(value)
    return MISSING if ms is None else f"{_three_digits(ms)} ms"


def duration(seconds: Any) -> str:
    """Seconds as "820 ms", "12.3 s", "3 min 05 s" or "2 h 10 min"."""
    elapsed = finite(seconds)
    if elapsed is None or elapsed < 0:
        return MISSING
    if elapsed < 0.9995:
        return f"{elapsed * 1000:.0f} ms"
    if elapsed < 59.95:
        return f"{elapsed:.1f} s"
    whole = round(elapsed)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(size_bytes: Any) -> str:
    """Bytes as "17.6 MB", where 1 MB is 1e6 bytes."""
    size = finite(size_bytes)
    if size is None:
        return MISSING
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size) >= bytes_each * 0.99995:  # what would be shown as 1,000.0 of the smaller unit
            return f"{size / bytes_each:,.1f} {unit}"
    return f"{size:.0f} bytes"


def count(value: Any) -> str:
    """A count to three digits: "22.7 M", "1.23 G", "840"."""
    amount = finite(value)
    if amount is None:
        return MISSING
    for unit, each in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(amount) >= each * 0.9995:
            return f"{_three_digits(amount / each)} {unit}"
    return f"{amount:.0f}"


def times(factor: Any) -> str:
    """A speed-up as "7.9 times", with the sign for it."""
    gain = finite(factor)
    return MISSING if gain is None else f"{number(gain, 1)}{TIMES}"


def scientific(value: Any) -> str:
    """A small error to two digits: "3.1e-06", "0.21"."""
    error = finite(value)
    return MISSING if error is None else f"{error:.2g}".replace("-", MINUS)


def probability(value: Any) -> str:
    """A p-value: "0.042", "< 0.001"."""
    p_value = finite(value)
    return MISSING if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def name_of(thing: Mapping[str, Any]) -> str:
    """The name of a subject, a step or a gate."""
    return str(thing.get("name") or MISSING)


def subjects_of(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measured subjects in the order of the flow: the baseline first, the shipped file last."""
    return [dict(subject) for subject in run.get("subjects") or []]


def metric_of(run: Mapping[str, Any]) -> str:
    """The name of the metric that the run is judged by."""
    for subject in reversed(subjects_of(run)):
        names = list(part(subject, "metrics"))
        if names:
            return names[0]
    return "accuracy"


def setting_of(row: Mapping[str, Any]) -> Setting:
    """What a row of latencies was measured at: device, batch, length (tokens), threads."""
    return (
        str(row.get("device") or "cpu"),
        int(row.get("batch") or 0),
        OF_DATA if row.get("length") == "data" else int(row.get("length") or 0),
        int(row.get("threads") or 0),
    )


def settings_of(run: Mapping[str, Any]) -> list[Setting]:
    """Every setting that some subject was timed at, in rising order."""
    rows = [row for subject in subjects_of(run) for row in subject.get("latency") or []]
    return sorted({setting_of(row) for row in rows})


def main_setting(run: Mapping[str, Any]) -> Setting | None:
    """The setting that is told first: batch 1, length 32, 1 thread when it was measured, else the smallest."""
    settings = settings_of(run)
    if PREFERRED in settings:
        return PREFERRED
    return next((setting for setting in settings if setting[2] != OF_DATA), settings[0] if settings else None)


def latency_at(subject: Mapping[str, Any], setting: Setting | None) -> dict[str, Any]:
    """A subject's row of latencies at a setting, empty when it was not timed there."""
    for row in subject.get("latency") or []:
        if setting_of(row) == setting:
            return dict(row)
    return {}


def speedup_at(subject: Mapping[str, Any], baseline: Mapping[str, Any], setting: Setting | None) -> float | None:
    """How many times faster a subject answers than the baseline: as recorded, else from the two medians."""
    row = latency_at(subject, setting)
    recorded = finite(row.get("speedup"))
    if recorded is not None:
        return recorded
    own, other = finite(row.get("p50_ms")), finite(latency_at(baseline, setting).get("p50_ms"))
    return other / own if own and other else None


def first_texts(subject: Mapping[str, Any]) -> dict[str, Any]:
    """What real texts took a subject, at the first number of threads; empty where they were not timed."""
    rows = subject.get("texts") or []
    return dict(rows[0]) if rows and isinstance(rows[0], Mapping) else {}


def exits_in_words(subject: Mapping[str, Any]) -> str:
    """Behind which layers so many of the texts have left: "0: 61.0 %, 1: 20.0 %, the last: 19.0 %"; empty without exits."""
    exits = part(subject, "exits")
    names = [*(f"{layer}" for layer in exits.get("layers") or []), "the last"]
    shares = exits.get("shares") or []
    return ", ".join(f"{name}: {percent(share)}" for name, share in zip(names, shares, strict=False))


def setting_words(setting: Setting) -> str:
    """A setting as words: "batch 1, length 32, 1 thread" (the device only when it is no CPU)."""
    device, batch, length, threads = setting
    tokens = "lengths of the data" if length == OF_DATA else f"length {length}"
    words = f"batch {batch}, {tokens}, {threads} thread{'' if threads == 1 else 's'}"
    return words if device == "cpu" else f"{device}, {words}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others, which hold numbers, to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    cells = [[markdown_text(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def markdown_text(text: Any) -> str:
    """A text on one line, without what would end a table's cell, open a tag or set marks."""
    line = re.sub(r"([\\`*|\[\]<])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)  # between two letters it marks nothing


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and to the disk; a link is followed.

    Raises:
        CompressError: The disk is full, or may not be written to.
    """
    path = path.resolve()
    try:
        write_lasting(path, text.encode("utf-8", errors="replace"))
    except OSError as err:
        raise CompressError(f"{path} could not be written: {err}. Free some space or name another folder.") from err
