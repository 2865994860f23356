"""Does a deployed file keep the limits of the recipe?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from compress.errors import InputError


def judge(gates: Any, subject: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Hold a measured subject against limits; a value that equals its limit passes.

    Every int8 file for CPUs among the subjects is held against the fastest float32 file beside it as well, or the baseline,
    unless `allow_slower` is true: `min_speedup_over_float` is 1, and its value the geometric mean over the measured rows. For
    other subjects than the one that is judged, the name tells whose it is.

    Args:
        gates: A recipe's `gates`, as its dataclass or as a mapping; what is None or absent is not judged.
            max_drop: largest loss of the task's metric against the baseline, a fraction (of a perplexity the share by which it
            may be higher, 0.1 for a tenth); min_accuracy: a fraction;
            min_speedup: against the baseline, in the worst of the measured rows; max_p95_ms: milliseconds, in the worst
            of the measured rows; max_size_bytes: of the files needed to run; min_recall: fractions by label, each a gate.
            The rows of a subject whose texts leave early are those of real texts, with the mean of the time.
        subject: One of run.json's `subjects`.
        beside: All of them.

    Returns:
        One {name, limit, value, passed} for each limit, in a fixed order.

    Raises:
        InputError: A limit is unknown, or nothing was measured for it.
    """
    limits = asdict(gates) if is_dataclass(gates) and not isinstance(gates, type) else dict(gates)
    allow_slower = limits.pop("allow_slower", False)
    unknown = sorted(set(limits) - set(_VALUES))
    if unknown:
        raise InputError(f"gate {unknown[0]!r} is unknown; allowed: {', '.join(_VALUES)}. Correct or remove it.")
    judged = []
    for gate, name, limit, value in _limits_and_values(limits, subject):
        if value is None:
            raise InputError(
                f"gate {gate} is {limit}, but nothing was measured for it on {subject.get('name')!r}; "
                f"{_NEEDED[name]}, or remove the gate."
            )
        passed = value >= limit if name.startswith("min_") else value <= limit
        judged.append({"name": gate, "limit": limit, "value": value, "passed": bool(passed)})
    if not allow_slower:
        others = [other for other in beside if other is not subject]
        for candidate in (*others, subject):
            speed = speed_over_float(candidate, beside)
            if speed is not None:
                name = "min_speedup_over_float" + ("" if candidate is subject else f" ({candidate.get('name')})")
                judged.append({"name": name, "limit": 1.0, "value": speed, "passed": speed >= 1})
    return judged


def _limits_and_values(limits: Mapping[str, Any], subject: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Each gate's name, the limit's that it is of, the limit itself, and what was measured."""
    for name, read in _VALUES.items():
        limit = limits.get(name)
        if isinstance(limit, Mapping):
            values = read(subject)
            yield from ((f"{name} ({label})", name, least, values.get(label)) for label, least in limit.items())
        elif limit is not None:
            yield name, name, limit, read(subject)


def speed_over_float(subject: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]) -> float | None:
    """How many times faster an int8 file for CPUs is than the fastest float subject beside it, on the geometric mean over the
    measured rows; None for other subjects, and where nothing was timed."""
    if not str(subject.get("target")).endswith("-cpu-int8"):
        return None
    rows = _timed(subject)
    own = _middles(subject, rows)
    ratios = [
        statistics.geometric_mean([times[row] / own[row] for row in own])
        for other in beside
        if "int8" not in str(other.get("target")) and (times := _middles(other, rows)) and own and times.keys() >= own.keys()
    ]
    return min(ratios, default=None)


def _timed(subject: Mapping[str, Any]) -> str:
    """Where a subject's times stand that count: those of real texts, where these leave early."""
    return "texts" if subject.get("exits") and subject.get("texts") else "latency"


def _middles(subject: Mapping[str, Any], rows: str) -> dict[tuple[Any, ...], float]:
    keys, time = ("device", "batch", "length", "threads"), "p50_ms" if rows == "latency" else "mean_ms"
    return {tuple(row.get(key) for key in keys): row[time] for row in subject.get(rows) or [] if row.get(time)}


def _drop(subject: Mapping[str, Any]) -> Any:
    return (subject.get("drop") or {}).get("value")


def _accuracy(subject: Mapping[str, Any]) -> Any:
    return (subject.get("metrics") or {}).get("accuracy")


def _recalls(subject: Mapping[str, Any]) -> dict[str, Any]:
    return {label: scores["recall"] for label, scores in (subject.get("by_label") or {}).items()}


def _latency(key: str, worst: Callable[[list[float]], float]) -> Callable[[Mapping[str, Any]], Any]:
    def read(subject: Mapping[str, Any]) -> Any:
        values = [row.get(key) for row in subject.get(_timed(subject)) or []]
        return worst(values) if values and None not in values else None

    return read


_VALUES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "max_drop": _drop,
    "min_accuracy": _accuracy,
    "min_recall": _recalls,
    "min_speedup": _latency("speedup", min),
    "max_p95_ms": _latency("p95_ms", max),
    "max_size_bytes": lambda subject: subject.get("size_bytes"),
}
_BENCHMARK = "let the benchmark have a batch, a length and a number of threads"
_NEEDED = {
    "max_drop": "give a baseline and evaluation data",
    "min_accuracy": "give evaluation data",
    "min_recall": "give evaluation data that has this label",
    "min_speedup": f"give a baseline and {_BENCHMARK}",
    "max_p95_ms": _BENCHMARK,
    "max_size_bytes": "measure a folder on disk",
}
