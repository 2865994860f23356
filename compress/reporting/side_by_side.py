"""Read the runs that one page shows beside each other, give each a name, and refuse those that no page can compare."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import record
from compress.errors import InputError, shown
from compress.record import part
from compress.reporting.reading import GIVE_RUN, RUN_JSON, read_details, read_runs, seed_folders
from compress.reporting.report import Shown
from compress.tasks import DEFAULT_KIND


def runs_to_show(paths: Sequence[Path]) -> list[Shown]:
    """Read run folders, folders of several seeds, or files with recorded results.

    Raises:
        InputError: One is no run, stands there twice, or is of another task than the first.
    """
    read = [(place, run, extras) for path in paths for place, run, extras in _read(path)]
    _refuse_twice(read)
    _refuse_other_tasks(read)
    names = _names(read)
    return [Shown(name, run, extras) for name, (_, run, extras) in zip(names, read, strict=True)]


def _read(path: Path) -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Each run of a path: where it stands, run.json and details.json."""
    runs = read_runs(path, GIVE_RUN)
    if path.is_file():
        return [(path, run, {}) for run in runs]
    folders = [path] if (path / RUN_JSON).is_file() else seed_folders(path)
    return [(folder, run, read_details(folder) or {}) for folder, run in zip(folders, runs, strict=True)]


def _refuse_twice(read: Sequence[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    for number, (place, run, _) in enumerate(read):
        for other, earlier, _ in read[:number]:
            if run == earlier:
                is_same = os.path.realpath(place) == os.path.realpath(other)
                which = f"{shown(str(place))} is given twice" if is_same else f"{place} and {other} hold the same run"
                raise InputError(f"{which}; give each run once.")


def _refuse_other_tasks(read: Sequence[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    tasks = {_task_words(run): place for place, run, _ in reversed(read)}
    if len(tasks) > 1:
        listed = "; ".join(f"{place}: {words}" for words, place in reversed(tasks.items()))
        raise InputError(
            f"a report shows runs of one task beside each other, and these are of {len(tasks)} ({listed}). Write a report for "
            "each task."
        )


def _task_words(run: Mapping[str, Any]) -> str:
    data = part(run, "data")
    return f"{data.get('kind') or DEFAULT_KIND} of {data.get('name') or 'own data'} by {record.metric_of(run)}"


def _names(read: Sequence[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """The runs' names; those that several have with their seeds, or the places where they stand."""
    names = [str(run.get("name") or place.name) for place, run, _ in read]
    ends = ([f", seed {part(run, 'recipe').get('seed')}" for _, run, _ in read], [f" in {place}" for place, _, _ in read])
    for endings in ends:
        often = Counter(names)
        names = [name + end if often[name] > 1 else name for name, end in zip(names, endings, strict=True)]
    often = Counter(names)
    return [f"{name} ({number})" if often[name] > 1 else name for number, name in enumerate(names, 1)]
