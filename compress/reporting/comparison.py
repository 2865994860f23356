"""Set two results beside each other: what changed, what it did to quality, latency and size, and what is a regression."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress import record
from compress.benchmark.machine import machine_key
from compress.measures import lost
from compress.record import finite, interval, part
from compress.reporting.changes import OF_ROWS, Change, changes
from compress.reporting.reading import rules_of
from compress.reporting.verdicts import Limits, judge
from compress.runtimes.table import is_exported
from compress.statistics import spread_of_means
from compress.tasks.per_example import unpacked
from compress.tasks.scores import correct_together, drop_over_seeds

NOTICEABLE = 0.05
"""Of a baseline's latency, which is the same file both times."""
Z95 = 1.959963984540054
"""The normal distribution's 97.5th percentile."""

Run = Mapping[str, Any]
Subject = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """What is compared: a subject of each side, one for each seed.

    Args:
        name: As in the tables: the subject's, or both where they have two.
        before: Of the first side.
        after: Of the second.
        is_shipped: Whether limits are for it.
    """

    name: str
    before: tuple[Subject, ...]
    after: tuple[Subject, ...]
    is_shipped: bool


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Args:
        names: Of the two sides.
        metric: The score that decides.
        changes: For each of `compress.reporting.changes.ROOMS` what changed.
        subjects: For each pair {name, is_shipped, quality, latency, size_bytes}.
        gone: Names of subjects that the first side alone has.
        new: Names of those that the second side alone has.
        notes: What has to be known to read the numbers.
        limits: What was judged.
        regressions: One sentence for each.
    """

    names: tuple[str, str]
    metric: str
    changes: Mapping[str, Sequence[Change]]
    subjects: Sequence[Mapping[str, Any]]
    gone: Sequence[str]
    new: Sequence[str]
    notes: Sequence[str]
    limits: Limits
    regressions: Sequence[str]


def compare(names: tuple[str, str], before: Sequence[Run], after: Sequence[Run], limits: Limits | None = None) -> Comparison:
    """Compare two results, each one run or the same recipe's runs with several seeds.

    Args:
        names: Of the two, as they were given.
        before: run.json of each seed.
        after: The same of what may be worse.
        limits: By how much.
    """
    limits = limits or Limits()
    pairs, gone, new = pairs_of(before, after)
    subjects: list[dict[str, Any]] = [
        {
            "name": pair.name,
            "is_shipped": pair.is_shipped,
            "quality": quality_of(pair, before, after),
            "latency": latency_of(pair, before, after),
            "size_bytes": size_of(pair),
        }
        for pair in pairs
    ]
    qualities = [subject["quality"] for subject in subjects if subject["is_shipped"]]
    correct_together([quality["drop"] for quality in qualities if "drop" in quality])
    metric = record.metric_of(after[0])
    regressions = []
    for subject in subjects:
        if subject["is_shipped"]:
            regressions += judge(subject, metric, limits)
    notes = notes_of(subjects, before, after, metric)
    return Comparison(names, metric, changes(before, after), subjects, gone, new, notes, limits, regressions)


def pairs_of(before: Sequence[Run], after: Sequence[Run]) -> tuple[list[Pair], list[str], list[str]]:
    """Pair the subjects of two sides by their names, and what is shipped last with each other under any name.

    Returns:
        The pairs in the second side's order, and the names that one side alone has: the first, the second.
    """
    own, other = (_by_name(runs) for runs in (before, after))
    names = {name: name for name in other if name in own}
    last = (list(own)[-1], list(other)[-1])
    if last[0] not in other and last[1] not in own:
        names[last[1]] = last[0]
    shipped = [new for new in names if is_exported(other[new][-1].get("kind"))] or list(names)[-1:]
    pairs = [
        Pair(new if new == old else f"{old} -> {new}", tuple(own[old]), tuple(other[new]), new in shipped)
        for new, old in names.items()
    ]
    gone = [name for name in own if name not in names.values()]
    return pairs, gone, [name for name in other if name not in names]


def _by_name(runs: Sequence[Run]) -> dict[str, list[Subject]]:
    named: dict[str, list[Subject]] = {}
    for run in runs:
        for subject in record.subjects_of(run):
            named.setdefault(record.name_of(subject), []).append(subject)
    return named


def has_same_examples(before: Run, after: Run) -> bool:
    """Whether both were evaluated on the same rows: by the part's fingerprint, else by that of all rows."""
    marks = []
    for run in (before, after):
        data = part(run, "data")
        marks.append((part(part(data, "splits"), "evaluation").get(OF_ROWS), data.get(OF_ROWS)))
    (own_part, own), (other_part, other) = marks
    return bool(own_part == other_part if own_part and other_part else own == other and own)


def quality_of(pair: Pair, before: Sequence[Run], after: Sequence[Run]) -> dict[str, Any]:
    """Compare a pair's deciding scores.

    Returns:
        before, after: the means over seeds. drop {value, ci95, p}: of the means, positive is worse. paired: whether example by
        example. over_seeds: whether the interval is over seeds too. Where there is nothing to compare, `why` says it,
        and there is no drop.
    """
    metric = record.metric_of(after[0])
    scores = [[finite(part(subject, "metrics").get(metric)) for subject in group] for group in (pair.before, pair.after)]
    if any(score is None for group in scores for score in group):
        return {"why": f"{metric} was not measured on both sides"}
    means = [statistics.fmean(score for score in group if score is not None) for group in scores]
    compared: dict[str, Any] = {"before": means[0], "after": means[1], "seeds": [len(pair.before), len(pair.after)]}
    same = has_same_examples(before[0], after[0])
    each = [[unpacked(subject, metric) for subject in group] for group in (pair.before, pair.after)]
    known = [[own for own in group if own is not None] for group in each]
    if all(len(own) == len(group) for own, group in zip(known, each, strict=True)):
        sizes = {own.shape for group in known for own in group}
        paired = same and len(sizes) == 1
        score = rules_of(after[0]).score_of(metric)
        drop = drop_over_seeds(score, *known, metric=metric, same_examples=paired, same_seeds=_seeds(before) == _seeds(after))
        return {**compared, "paired": paired, "over_seeds": max(compared["seeds"]) > 1, "drop": drop}
    return {**compared, "paired": False, "over_seeds": False, "drop": _apart(pair, metric, means)}


def _seeds(runs: Sequence[Run]) -> list[Any]:
    return [part(run, "recipe").get("seed") for run in runs]


def _apart(pair: Pair, metric: str, means: Sequence[float]) -> dict[str, Any]:
    """The drop with an interval from both scores' own, as if of other examples; none where one of them is missing.

    An interval's half width is 1.96 standard errors; the variances of the two add up, each by the square of how much the loss
    changes with it. Seeds share their examples, so their mean has the error of one of them.
    """
    value = float(lost(metric, *means))
    ends = [[interval(part(subject, "metrics_ci95").get(metric)) for subject in group] for group in (pair.before, pair.after)]
    known = [[bounds for bounds in group if bounds is not None] for group in ends]
    if known != ends:
        return {"value": value, "ci95": None, "p": None}
    errors = [statistics.fmean((high - low) / 2 / Z95 for low, high in group) for group in known]
    small = 1e-6
    slopes = (
        (lost(metric, means[0] + small, means[1]) - value) / small,
        (lost(metric, means[0], means[1] + small) - value) / small,
    )
    error = float(np.hypot(errors[0] * slopes[0], errors[1] * slopes[1]))
    p_value = 2 * (1 - statistics.NormalDist().cdf(abs(value) / error)) if error else float(value == 0)
    return {"value": value, "ci95": [value - Z95 * error, value + Z95 * error], "p": p_value}


def latency_of(pair: Pair, before: Sequence[Run], after: Sequence[Run]) -> dict[str, Any]:
    """Compare a pair's median latencies at every setting that both were timed at, on one machine.

    Returns:
        rows: {device, batch, length, threads, before_ms, after_ms, ratio}, medians over seeds. ratio: their geometric mean,
        above 1 is slower. ci95: its interval by the scatter of both's rounds; None where rounds were not kept.
        baseline_ratio: the same of the baseline of both, if it is another subject. Where there is nothing to compare, `why`
        says it, and there are no ratios.
    """
    machines = [{machine_key(part(run, "machine")) for run in runs} for runs in (before, after)]
    if len(machines[0] | machines[1]) > 1:
        return {"why": "measured on two machines, whose latencies are not compared"}
    rows = _rows(pair)
    if not rows:
        return {"why": "not timed at a setting that both have"}
    first = [record.subjects_of(runs[0])[0] for runs in (before, after)]
    has_baseline = record.name_of(first[0]) == record.name_of(first[1]) != pair.name
    baselines = [tuple(record.subjects_of(run)[0] for run in runs) for runs in (before, after)]
    others = _rows(Pair("", baselines[0], baselines[1], False)) if has_baseline else []
    settings = {record.setting_of(row) for row in rows}
    others = [row for row in others if record.setting_of(row) in settings]
    return {
        "rows": rows,
        "ratio": _ratio(rows),
        "ci95": _ratio_interval(pair, [record.setting_of(row) for row in rows]),
        "baseline_ratio": _ratio(others) if others else None,
    }


def _rows(pair: Pair) -> list[dict[str, Any]]:
    rows = []
    for row in pair.after[0].get("latency") or []:
        setting = record.setting_of(row)
        times = [
            [finite(record.latency_at(subject, setting).get("p50_ms")) for subject in group]
            for group in (pair.before, pair.after)
        ]
        if all(time for group in times for time in group):
            own, other = (statistics.median(time for time in group if time) for group in times)
            keys = ("device", "batch", "length", "threads")
            rows.append({key: row.get(key) for key in keys} | {"before_ms": own, "after_ms": other, "ratio": other / own})
    return rows


def _ratio(rows: Sequence[Mapping[str, Any]]) -> float:
    return statistics.geometric_mean([row["ratio"] for row in rows])


def _ratio_interval(pair: Pair, settings: Sequence[record.Setting]) -> list[float] | None:
    """The ratio's interval by the scatter of rounds, each the mean over the settings of the logarithms of its medians."""
    groups = []
    for group in (pair.before, pair.after):
        slowness: list[float] = []
        for subject in group:
            rounds = [record.latency_at(subject, setting).get("rounds_p50_ms") or [] for setting in settings]
            lengths = {len(times) for times in rounds}
            if len(lengths) != 1 or not all(finite(time) for times in rounds for time in times):
                return None
            slowness += list(np.log(np.array(rounds, dtype=np.float64)).mean(0)) if rounds[0] else []
        groups.append(np.array(slowness))
    spread = spread_of_means(*groups)
    if spread is None:
        return None
    middle = float(groups[1].mean() - groups[0].mean())
    return [float(np.exp(middle + end)) for end in (-spread, spread)]


def size_of(pair: Pair) -> dict[str, Any]:
    """Compare a pair's sizes: before and after, means over seeds, and their ratio."""
    sizes = [[finite(subject.get("size_bytes")) for subject in group] for group in (pair.before, pair.after)]
    if not all(size for group in sizes for size in group):
        return {"why": "not known on both sides"}
    own, other = (statistics.fmean(size for size in group if size) for group in sizes)
    return {"before": own, "after": other, "ratio": other / own}


def notes_of(subjects: Sequence[Mapping[str, Any]], before: Sequence[Run], after: Sequence[Run], metric: str) -> list[str]:
    """Say what has to be known to read the numbers."""
    first = record.metric_of(before[0])
    notes = [f"the first is judged by {first}, the second by {metric}, which is compared"] if first != metric else []
    drops = [quality for subject in subjects if "drop" in (quality := subject["quality"])]
    if any(not quality["paired"] for quality in drops):
        same = has_same_examples(before[0], after[0])
        why = "a side keeps no values of single examples" if same else "the two were evaluated on other rows"
        notes.append(f"intervals of the drop are unpaired, and wider than paired ones, since {why}")
    if any(quality["over_seeds"] for quality in drops):
        notes.append("intervals are over seeds and examples; those of a handful of seeds are rather too narrow")
    elif drops:
        notes.append("intervals tell of other examples, and nothing of other seeds")
    notes += dict.fromkeys(f"latencies: {why}" for subject in subjects if (why := subject["latency"].get("why")))
    ratios = [ratio for subject in subjects if (ratio := subject["latency"].get("baseline_ratio"))]
    moved = max(ratios, key=lambda ratio: abs(ratio - 1), default=1.0)
    if abs(moved - 1) > NOTICEABLE:
        notes.append(
            f"the baseline itself takes {record.percent(abs(moved - 1))} {'longer' if moved > 1 else 'less'} than it took: "
            "the machine was not as fast both times, and differences of that size say nothing of the files"
        )
    return notes
