"""Lay results out as Markdown, and keep the tables of a page the same as the results they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from compress import record
from compress.errors import InputError
from compress.measure.subjects import read_json
from compress.record import MISSING, Setting, finite, interval, part

START = re.compile(r"^<!-- results: (\S+) -->[ \t]*\r?$", re.MULTILINE)
END = re.compile(r"^<!-- end of results -->[ \t]*\r?$", re.MULTILINE)
SCHEMA = 1

Run = Mapping[str, Any]


def refresh_tables(path: Path) -> bool:
    """Write the tables of a Markdown page anew from the results that it names.

    Each table stands between the lines `<!-- results: FILE -->` and `<!-- end of results -->`, where FILE is a results
    file ({schema: 1, runs: [run.json, ...]}) as seen from the page's folder.

    Returns:
        Whether the page changed.

    Raises:
        InputError: The page or a results file is missing or damaged, or the page has no such lines, or not in pairs.
        CompressError: The page may not be written to.
    """
    try:
        before = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read ({err}); name a Markdown file.") from err
    newline = "\r\n" if "\r\n" in before else "\n"
    after, end = "", 0
    for start, stop in _places(before, path):
        table = results_table(read_results(path.parent / start.group(1)))
        after += before[end : start.end()].rstrip("\r") + newline
        after += newline.join(["", *table.splitlines(), "", ""])
        end = stop.start()
    after += before[end:]
    if after != before:
        record.write_whole(path, after)
    return after != before


def _places(text: str, path: Path) -> list[tuple[re.Match[str], re.Match[str]]]:
    """The pairs of lines between which a table stands."""
    marks = sorted([*START.finditer(text), *END.finditer(text)], key=lambda mark: mark.start())
    if not marks:
        raise InputError(f"{path} has no line <!-- results: FILE.json -->; put one, and <!-- end of results --> after it.")
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    if len(marks) % 2 or any(first.re is not START or second.re is not END for first, second in pairs):
        raise InputError(f"{path}: each <!-- results: FILE.json --> needs one <!-- end of results --> after it, and no other.")
    return pairs


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
        if not isinstance(subjects, list) or not subjects or not all(isinstance(one, dict) for one in subjects):
            raise InputError(f"{path}: run {number} of {len(runs)} has no subjects; record the results again with --record.")
    return runs


def _brief(content: Mapping[str, Any]) -> str:
    return f"schema {content.get('schema')!r} and the keys {', '.join(map(str, content)) or 'none'}"


def results_table(runs: Sequence[Run]) -> str:
    """Lay out one row for each subject, over the seeds of one recipe, and a line below that says where it was measured.

    With several seeds a number is their mean, and the metric shows the lowest and the highest.

    Args:
        runs: The contents of run.json, at least one, measured on one machine.

    Raises:
        InputError: There is no run, or they were not measured on one machine.
    """
    if not runs:
        raise InputError("there is no run to show; at least one is needed: record one with bert-compress run RECIPE --record.")
    _check_one_machine(runs)
    metric, setting = record.metric_of(runs[0]), record.main_setting(runs[0])
    widest = _widest(runs, setting)
    pace = f"examples/s, batch {widest[1]}" if widest else "examples/s"
    head = ["model", f"{metric}, %", f"drop, points{'' if len(runs) > 1 else ' (95 %)'}", "MB", "p50, ms", "speed-up", pace]
    names = dict.fromkeys(record.name_of(subject) for run in runs for subject in record.subjects_of(run))
    rows = [_row(name, runs, metric, setting, widest) for name in names]
    return f"{record.markdown_table(head, rows)}\n\n{_origin(runs, setting)}"


def _check_one_machine(runs: Sequence[Run]) -> None:
    machines = {tuple(str(part(run, "machine").get(key)) for key in ("cpu", "gpu")) for run in runs}
    if len(machines) > 1:
        told = "; ".join(" and GPU ".join(machine) for machine in sorted(machines))
        raise InputError(f"the runs were measured on {len(machines)} machines ({told}); latencies of one machine are needed: "
                         "record all seeds on one.")  # fmt: skip


def _widest(runs: Sequence[Run], setting: Setting | None) -> Setting | None:
    """The setting with the largest batch that is otherwise the main one."""
    if setting is None:
        return None
    return max(one for one in record.settings_of(runs[0]) if (one[0], *one[2:]) == (setting[0], *setting[2:]))


def _row(name: str, runs: Sequence[Run], metric: str, setting: Setting | None, widest: Setting | None) -> list[str]:
    found = [(run, subject) for run in runs for subject in record.subjects_of(run) if record.name_of(subject) == name]

    def mean(read: Callable[[dict[str, Any]], Any]) -> float | None:
        return _mean([read(subject) for _, subject in found])

    drop = mean(lambda subject: part(subject, "drop").get("value"))
    ends = interval(part(found[0][1], "drop").get("ci95")) if len(runs) == 1 else None
    size = mean(lambda subject: subject.get("size_bytes"))
    is_baseline = all(record.name_of(record.subjects_of(run)[0]) == name for run, _ in found)
    return [
        name,
        _metric([finite(part(subject, "metrics").get(metric)) for _, subject in found]),
        MISSING if is_baseline else
        record.points(drop) + (f" ({record.points(ends[0])} to {record.points(ends[1])})" if ends else ""),
        MISSING if size is None else record.number(size / 1e6, 1),
        record.milliseconds(mean(lambda subject: record.latency_at(subject, setting).get("p50_ms"))).removesuffix(" ms"),
        record.times(_mean([record.speedup_at(subject, record.subjects_of(run)[0], setting) for run, subject in found])),
        record.number(mean(lambda subject: record.latency_at(subject, widest).get("examples_per_second")), 0),
    ]  # fmt: skip


def _mean(values: Sequence[Any]) -> float | None:
    """The mean, or None when one of the values is missing."""
    numbers = [number for value in values if (number := finite(value)) is not None]
    return fmean(numbers) if values and len(numbers) == len(values) else None


def _metric(values: Sequence[float | None]) -> str:
    middle = _mean(values)
    if middle is None or len(values) == 1:
        return record.points(middle)
    low, high = min(value for value in values if value is not None), max(value for value in values if value is not None)
    return f"{record.points(middle)} ({record.points(low)} to {record.points(high)})"


def _origin(runs: Sequence[Run], setting: Setting | None) -> str:
    """Where the numbers come from: machine, setting, seeds, data."""
    machine, data = part(runs[0], "machine"), part(runs[0], "data")
    cores = finite(machine.get("cores"))
    place = str(machine.get("cpu") or "an unknown machine")
    place += f" ({cores:.0f} core{'' if cores == 1 else 's'})" if cores else ""
    if setting is not None and setting[0] != "cpu" and machine.get("gpu"):
        place = f"{machine['gpu']}, {place}"
    lines = [f"Measured on {record.markdown_text(place)}" + (f" at {record.setting_words(setting)}" if setting else "")]
    seeds = [str(part(run, "recipe").get("seed", MISSING)) for run in runs]
    lines.append(f"seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)}" + (
        ": means, in brackets the lowest and the highest" if len(seeds) > 1 else ""))  # fmt: skip
    if data:
        facts = [str(data.get("name") or MISSING), f"source {data.get('source') or 'not stated'}",
                 f"licence {data.get('licence') or 'not stated'}"]  # fmt: skip
        examples = part(part(data, "splits"), "evaluation").get("examples")
        facts += [f"{record.number(examples, 0)} examples"] if finite(examples) is not None else []
        lines.append(f"data: {record.markdown_text(', '.join(facts))}")
    return "; ".join(lines) + "."
