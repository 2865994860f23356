"""Read recorded results, and lay those of one recipe, or of the recipes of a task, out as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from compress import record
from compress.benchmark.subjects import read_json
from compress.errors import InputError
from compress.measures import is_less_better
from compress.record import MISSING, Setting, finite, interval, part
from compress.reporting.comparison import Pair, quality_of
from compress.tasks.per_example import unpacked

SCHEMA = 1

Run = Mapping[str, Any]


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the runs of a results file.

    Raises:
        InputError: It is missing, no JSON, or no results of schema 1.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; record the results with bert-compress run RECIPE --record, or correct the name.")
    content = read_json(path)
    runs = content.get("runs")
    if content.get("schema") != SCHEMA or not isinstance(runs, list) or not runs:
        raise InputError(
            f"{path} holds no results of schema {SCHEMA}, but {_brief(content)}; record them again with --record."
        )
    for number, run in enumerate(runs, 1):
        subjects = run.get("subjects") if isinstance(run, dict) else None
        if not isinstance(subjects, list) or not subjects or not all(isinstance(subject, dict) for subject in subjects):
            raise InputError(f"{path}: run {number} of {len(runs)} has no subjects; record the results again with --record.")
    return runs


def read_folder(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the runs of every results file in a folder, by the names of the recipes.

    Raises:
        InputError: There is none, one is damaged, or they tell of several tasks.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(
            f"{folder} holds no results (*.json); record some with bert-compress run RECIPE --record, or correct the name."
        )
    recorded = {path.stem: read_results(path) for path in files}
    runs = [run for group in recorded.values() for run in group]
    data = {str(part(run, "data").get("name") or MISSING) for run in runs}
    metrics = {record.metric_of(run) for run in runs}
    if len(data) > 1 or len(metrics) > 1:
        raise InputError(
            f"{folder} has results on the data {', '.join(sorted(data))}, judged by "
            f"{', '.join(sorted(metrics))}; recipes compare on one task: keep a folder for each."
        )
    return recorded


def _brief(content: Mapping[str, Any]) -> str:
    return f"schema {content.get('schema')!r} and the keys {', '.join(map(str, content)) or 'none'}"


def results_table(runs: Sequence[Run]) -> str:
    """Lay out one row for each subject, over the seeds of one recipe, and a line below that says where it was measured.

    What a file takes on disk, the process that serves it in memory (at most, while it was timed), and the multiply-adds of an
    example are columns of their own, since what makes one smaller may leave the others as they are. With several seeds a
    number is their mean, the metric shows the lowest and the highest, and the drop its interval over seeds and examples where
    the runs keep values of examples.

    Args:
        runs: The contents of run.json, at least one, measured on one machine.

    Raises:
        InputError: There is no run, or they were not measured on one machine.
    """
    if not runs:
        raise InputError("there is no run to show; at least one is needed: record one with bert-compress run RECIPE --record.")
    check_one_machine(runs)
    metric, setting = record.metric_of(runs[0]), record.main_setting(runs[0])
    widest = _widest(runs, setting)
    pace = f"examples/s, batch {widest[1]}" if widest else "examples/s"
    unit, points = units_of(metric)
    shipped = record.name_of(record.subjects_of(runs[0])[-1])
    head = [
        "model",
        f"{metric}{unit}",
        f"drop, {points}{' (95 %)' if len(runs) == 1 or over_seeds(runs, shipped, metric) else ''}",
        *further_head(runs, metric),
        "MB",
        "MB in memory",
        "MACs",
        "p50, ms",
        "speed-up",
        pace,
    ]
    names = dict.fromkeys(record.name_of(subject) for run in runs for subject in record.subjects_of(run))
    rows = [_row(name, runs, metric, setting, widest) for name in names]
    return f"{record.markdown_table(head, rows)}\n\n{_origin(runs, setting)}"


def recipes_table(recorded: Mapping[str, Sequence[Run]]) -> str:
    """Lay the files that a task's recipes export out beside each other, against the one model that is their baseline.

    Args:
        recorded: The runs of each recipe by its name, as `read_folder` gives them.

    Raises:
        InputError: They were not measured on one machine, or against baselines of several names.
    """
    runs = [run for group in recorded.values() for run in group]
    check_one_machine(runs)
    baselines = dict.fromkeys(record.name_of(record.subjects_of(run)[0]) for run in runs)
    if len(baselines) > 1:
        raise InputError(
            f"the recipes were measured against {', '.join(baselines)}; drops compare against one model: give "
            "each recipe the same benchmark.baseline."
        )
    metric, setting = record.metric_of(runs[0]), record.main_setting(runs[0])
    unit, points = units_of(metric)
    head = [
        "recipe",
        "file",
        f"{metric}{unit} (95 %)",
        f"drop from {next(iter(baselines))}, {points} (95 %)",
        "texts cut",
        "MB",
        "p50, ms",
    ]
    rows = []
    for recipe, group in recorded.items():
        named = {record.name_of(subject): subject.get("kind") for run in group for subject in record.subjects_of(run)}
        rows += [_recipe_row(recipe, name, group, metric, setting) for name, kind in named.items() if kind != "torch"]
    return f"{record.markdown_table(head, rows)}\n\n{_origin(runs, setting)}"


def _recipe_row(recipe: str, name: str, runs: Sequence[Run], metric: str, setting: Setting | None) -> list[str]:
    files = [file for run in runs for file in record.subjects_of(run) if record.name_of(file) == name]
    size = mean_of([file.get("size_bytes") for file in files])
    right = [finite(part(file, "metrics").get(metric)) for file in files]
    drop = [finite(part(file, "drop").get("value")) for file in files]
    return [
        recipe,
        name,
        _with_ends(spread(right, metric), [part(file, "metrics_ci95").get(metric) for file in files], metric),
        _with_ends(spread(drop), [part(file, "drop").get("ci95") for file in files]),
        record.number(mean_of([file.get("truncated") for file in files]), 0),
        MISSING if size is None else record.number(size / 1e6, 1),
        record.milliseconds(mean_of([record.latency_at(file, setting).get("p50_ms") for file in files])).removesuffix(" ms"),
    ]


def units_of(metric: str) -> tuple[str, str]:
    """What stands behind a metric's name in a head, and what its drop is counted in."""
    return ("", "%") if is_less_better(metric) else (", %", "points")


def _with_ends(text: str, intervals: Sequence[Any], metric: str = "") -> str:
    """A number with the interval of the only seed; with several seeds their spread says more."""
    ends = interval(intervals[0]) if len(intervals) == 1 else None
    return text + (f" ({record.between(metric, ends)})" if ends else "")


def over_seeds(runs: Sequence[Run], name: str, metric: str) -> list[float] | None:
    """The 95 % interval of a subject's mean drop over seeds and examples; None where the runs keep no values of examples.

    Args:
        runs: Of one recipe, a seed each.
        name: The subject's.
        metric: The score that decides.
    """
    baselines = tuple(record.subjects_of(run)[0] for run in runs)
    own = tuple(subject for run in runs for subject in record.subjects_of(run) if record.name_of(subject) == name)
    if any(unpacked(subject, metric) is None for subject in (*baselines, *own)):
        return None
    ends: list[float] = quality_of(Pair(name, baselines, own, is_shipped=False), runs, runs)["drop"]["ci95"]
    return ends


def check_one_machine(runs: Sequence[Run]) -> None:
    """Refuse runs that were not measured on one machine: their latencies have no mean.

    Raises:
        InputError: They name several machines.
    """
    machines = {tuple(str(part(run, "machine").get(key)) for key in ("cpu", "gpu")) for run in runs}
    if len(machines) > 1:
        names = "; ".join(" and GPU ".join(machine) for machine in sorted(machines))
        raise InputError(
            f"the runs were measured on {len(machines)} machines ({names}); latencies of one machine are needed: "
            "record all seeds on one."
        )


def _widest(runs: Sequence[Run], setting: Setting | None) -> Setting | None:
    """The setting with the largest batch that is otherwise the main one."""
    if setting is None:
        return None
    return max(
        candidate for candidate in record.settings_of(runs[0]) if (candidate[0], *candidate[2:]) == (setting[0], *setting[2:])
    )


def _row(name: str, runs: Sequence[Run], metric: str, setting: Setting | None, widest: Setting | None) -> list[str]:
    pairs = [(run, subject) for run in runs for subject in record.subjects_of(run) if record.name_of(subject) == name]

    def mean(read: Callable[[dict[str, Any]], Any]) -> float | None:
        return mean_of([read(subject) for _, subject in pairs])

    drop = mean(lambda subject: part(subject, "drop").get("value"))
    size = mean(lambda subject: subject.get("size_bytes"))
    memory = mean(lambda subject: subject.get("peak_memory_bytes"))
    is_baseline = all(record.name_of(record.subjects_of(run)[0]) == name for run, _ in pairs)
    return [
        name,
        spread([finite(part(subject, "metrics").get(metric)) for _, subject in pairs], metric),
        MISSING
        if is_baseline
        else _with_ends(
            record.points(drop),
            [over_seeds(runs, name, metric)] if len(runs) > 1 else [part(subject, "drop").get("ci95") for _, subject in pairs],
        ),
        *(
            []
            if not further_head(runs, metric)
            else further_cells([subject for _, subject in pairs], metric, is_baseline=is_baseline)
        ),
        MISSING if size is None else record.number(size / 1e6, 1),
        MISSING if memory is None else record.number(memory / 1e6, 0),
        record.count(mean(lambda subject: subject.get("macs"))),
        record.milliseconds(mean(lambda subject: record.latency_at(subject, setting).get("p50_ms"))).removesuffix(" ms"),
        record.times(mean_of([record.speedup_at(subject, record.subjects_of(run)[0], setting) for run, subject in pairs])),
        record.number(mean(lambda subject: record.latency_at(subject, widest).get("examples_per_second")), 0),
    ]


def further_head(runs: Sequence[Run], metric: str) -> list[str]:
    """The columns of further rows that were kept apart of the training data; none where no run has them."""
    further = [part(subject, "further") for run in runs for subject in record.subjects_of(run)]
    counts = [figures.get("examples") for figures in further if figures]
    if not counts:
        return []
    unit, points = units_of(metric)
    return [f"{metric}{unit} of {record.number(counts[0], 0)} further rows", f"drop there, {points}"]


def further_cells(subjects: Sequence[dict[str, Any]], metric: str, *, is_baseline: bool) -> list[str]:
    """What they hold, means over the seeds."""
    further = [part(subject, "further") for subject in subjects]
    drop = record.points(mean_of([part(figures, "drop").get("value") for figures in further]))
    intervals = [part(figures, "drop").get("ci95") for figures in further]
    return [
        spread([finite(part(figures, "metrics").get(metric)) for figures in further], metric),
        MISSING if is_baseline else _with_ends(drop, intervals),
    ]


def mean_of(values: Sequence[Any]) -> float | None:
    """The mean, or None when one of the values is missing."""
    numbers = [number for value in values if (number := finite(value)) is not None]
    return fmean(numbers) if values and len(numbers) == len(values) else None


def spread(values: Sequence[float | None], metric: str = "") -> str:
    """The mean of fractions in percent, or of a metric's scores, with the lowest and the highest in brackets when there are
    several."""
    middle = mean_of(values)
    if middle is None or len(values) == 1:
        return record.bare_score(metric, middle)
    low, high = min(value for value in values if value is not None), max(value for value in values if value is not None)
    return f"{record.bare_score(metric, middle)} ({record.between(metric, (low, high))})"


def _origin(runs: Sequence[Run], setting: Setting | None) -> str:
    """Where the numbers come from: machine, setting, seeds, data."""
    data = part(runs[0], "data")
    lines = [f"Measured on {record.markdown_text(place_of(runs[0], setting))}"]
    seeds = list(dict.fromkeys(str(part(run, "recipe").get("seed", MISSING)) for run in runs))
    lines.append(
        f"seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)}"
        + (": means, in brackets the lowest and the highest" if len(seeds) > 1 else "")
    )
    if data:
        facts = [
            str(data.get("name") or MISSING),
            f"source {data.get('source') or 'not stated'}",
            f"licence {data.get('licence') or 'not stated'}",
        ]
        examples = part(part(data, "splits"), "evaluation").get("examples")
        facts += [f"{record.number(examples, 0)} examples"] if finite(examples) is not None else []
        lines.append(f"data: {record.markdown_text(', '.join(facts))}")
    return "; ".join(lines) + "."


def place_of(run: Run, setting: Setting | None) -> str:
    """The machine that a run was measured on, and the setting."""
    machine = part(run, "machine")
    cores = finite(machine.get("cores"))
    place = str(machine.get("cpu") or "an unknown machine")
    place += f" ({cores:.0f} core{'' if cores == 1 else 's'})" if cores else ""
    if setting is not None and setting[0] != "cpu" and machine.get("gpu"):
        place = f"{machine['gpu']}, {place}"
    return f"{place} at {record.setting_words(setting)}" if setting else place
