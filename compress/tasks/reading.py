"""From rows to a task: labels to ids, parts with one use each, no row on both sides."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks import DEFAULT_KIND, TASKS
from compress.tasks.cutting import cut, row_order
from compress.tasks.data.files import FORMATS, listed, shown_path, stem_of
from compress.tasks.data.rows import Rows
from compress.tasks.kind import TaskKind, load_kind, read_rows
from compress.tasks.known import Found, find
from compress.tasks.labelled import Task
from compress.tasks.split import Role

logger = logging.getLogger(__name__)

IN_BOTH = "also in the evaluation data"
COLUMNS = ("text", "pair", "label")
EVALUATION_SHARE = 0.2
SELECTION_SHARE, MOST_SELECTION = 0.1, 2000
CALIBRATION_SHARE, MOST_CALIBRATION = 0.05, 500
FEWEST_ROWS = 16


def read_task(
    data: str | Mapping[str, str],
    *,
    kind: str,
    name: str | None,
    data_dir: str | None,
    labels: Sequence[str] | None,
    max_length: int,
    selection: float | None,
    calibration: float | None,
    metric: str | None,
    rows: int | None,
    allow_unknown: bool,
) -> Task:
    """Read and cut; see `compress.tasks.task`."""
    if kind not in TASKS:
        raise InputError(f"task.kind is {shown(kind)}; allowed: {', '.join(TASKS)}.")
    rules = load_kind(kind)
    rules.check_names(labels)
    if metric is not None and metric not in rules.metrics:
        raise InputError(f"task.metric is {shown(metric)}; a task of {kind} is judged by {' or '.join(rules.metrics)}.")
    found = find(data, data_dir, rules) if isinstance(data, str) else _files(data, data_dir, rules)
    if labels is None or set(labels) == set(found.labels or ()):
        found = found.with_names()
    names = tuple(labels) if labels is not None else found.labels or rules.names(found.train)
    metric = metric or rules.metrics[0]
    rules.check_metric(metric, names)
    train, evaluation, removed = _apart(found, rows)
    targets, evaluation_targets = rules.targets(train, names), rules.targets(evaluation, names)
    _check_targets(rules, train, targets, names, removed)
    lone = rules.lone(evaluation_targets, names)
    if lone is not None:
        logger.warning("%s: every row to measure on has the %s %s.", evaluation.source, rules.noun, shown(lone))
    return Task(
        name=name or (data if isinstance(data, str) else stem_of(Path(data["train"]))),
        kind=kind,
        labels=names,
        max_length=max_length,
        metric=metric,
        **_cut_train(rules, train, targets, names, selection, calibration),
        evaluation=rules.split("evaluation", evaluation, evaluation_targets, names),
        source=found.source,
        licence=found.licence,
        removed=removed,
        allow_unknown=allow_unknown,
    )


def read_evaluation(
    path: Path,
    columns: Mapping[str, str],
    labels: Sequence[str],
    max_length: int,
    allow_unknown: bool = False,
    kind: str = DEFAULT_KIND,
) -> Task:
    """Read one file to measure on; see `compress.tasks.evaluation_task`."""
    rules = load_kind(kind)
    rules.check_names(labels)
    rows = read_rows(rules, path, columns)
    names = rules.names_of_outputs(rows, tuple(labels))
    targets = rules.targets(rows, names)
    nothing = rows.pick([])
    roles: tuple[Role, ...] = ("train", "selection", "calibration")
    empty: dict[str, Any] = {role: rules.split(role, nothing, targets[:0], names) for role in roles}
    return Task(
        name=stem_of(path),
        kind=kind,
        labels=names,
        max_length=max_length,
        metric=rules.metrics[0],
        **empty,
        evaluation=rules.split("evaluation", rows, targets, names),
        source=str(path),
        allow_unknown=allow_unknown,
    )


def _files(data: Mapping[str, str], data_dir: str | None, rules: TaskKind) -> Found:
    allowed = ("train", "validation", *COLUMNS, "quoting")
    unknown = [key for key in data if key not in allowed]
    if unknown or not data.get("train"):
        what = f"data has an unknown key {shown(unknown[0])}" if unknown else "data names no train file"
        raise InputError(f"{what}; allowed: {', '.join(allowed)}, and train must be there.")
    wrong = next((key for key, value in data.items() if value is not None and not isinstance(value, str | Path)), None)
    if wrong:
        raise InputError(f"data.{wrong} is {shown(data[wrong])}; give a text.")
    columns = {role: str(data[role]) for role in COLUMNS if data.get(role)}
    train = _rows_of(rules, data_dir, data["train"], columns, data)
    validation = _rows_of(rules, data_dir, data["validation"], columns, data) if data.get("validation") else None
    if validation is not None and (train.pairs is None) != (validation.pairs is None):
        raise InputError(f"only one of {train.source} and {validation.source} has pairs; name the columns with text and pair.")
    return Found(train, validation, None, train.source, None, {})


def _rows_of(rules: TaskKind, data_dir: str | None, name: str, columns: Mapping[str, str], data: Mapping[str, str]) -> Rows:
    try:
        path = (Path(data_dir).expanduser() if data_dir else Path()) / Path(name).expanduser()
        is_there = bool(path.suffix) or path.exists()
    except (RuntimeError, OSError, ValueError) as err:  # no such user, or a name that no file can have
        why = getattr(err, "strerror", None) or str(err)
        raise InputError(f"data file {shown(str(name), 200)} is no path ({why}); give that of a file.") from err
    if not is_there:
        raise InputError(
            f"data file {shown_path(path)} does not exist; give a file that ends in {listed((*FORMATS, *rules.readers))}."
        )
    return read_rows(rules, path, columns, data.get("quoting"))


def _check_targets(
    rules: TaskKind, train: Rows, targets: np.ndarray, names: tuple[str, ...], removed: Mapping[str, int]
) -> None:
    """Check that there is something to learn, with the reason where rows were left out that had the other labels."""
    lone = rules.lone(targets, names)
    if lone is not None:
        both = removed.get(IN_BOTH, 0)
        why = (
            f"; the {both} other rows stand in the evaluation data too and are not learned from. Give training rows that "
            "do not stand there"
            if both
            else ""
        )
        raise InputError(
            f"{train.source}: every row has the {rules.noun} {shown(lone)}; at least two {rules.noun}s are needed to learn "
            f"from{why}."
        )


def _apart(found: Found, most: int | None) -> tuple[Rows, Rows, dict[str, int]]:
    """Training and evaluation rows without a row on both sides, and what was left out."""
    removed = {reason: count for reason, count in found.removed.items() if count}
    train = _fewer(found.train, most)
    if found.validation is None:
        if len(train) < FEWEST_ROWS:
            raise InputError(f"{train.source} has {len(train)} rows; at least {FEWEST_ROWS} are needed to cut it into parts.")
        share = max(EVALUATION_SHARE, min(0.3, 10 / len(train)))
        held, rest = cut(row_order(train.texts, train.pairs, "evaluation"), share)
        if not len(held) or not len(rest):
            raise InputError(
                f"{train.source}: {len(train)} rows have only {len(set(train.keys()))} different texts, which is too few to "
                "keep some apart to measure on; give more texts, or a validation file."
            )
        return train.pick(rest.tolist()), train.pick(held.tolist()), removed
    measured = set(found.validation.keys())
    kept = [index for index, key in enumerate(train.keys()) if key not in measured]
    both = len(train) - len(kept)
    evaluated = found.validation.source
    if both and len(kept) < FEWEST_ROWS:
        left = f"only {len(kept)} of its {len(train)} rows are left" if kept else "nothing is left"
        same = (
            "train and validation name the same file"
            if train.source == evaluated
            else (f"{both} rows of {train.source} stand in {evaluated} too, which is measured on and never learned from")
        )
        raise InputError(
            f"{train.source}: {left} to learn from: {same}. Name other rows as validation, or leave validation out: a part of "
            "train is then kept apart to be measured on."
        )
    if both:
        removed[IN_BOTH] = both
        logger.warning("%d rows of %s stand in %s too; they are not learned from.", both, train.source, evaluated)
    return train.pick(kept), found.validation, removed


def _fewer(rows: Rows, most: int | None) -> Rows:
    if most is None or len(rows) <= most:
        return rows
    chosen = np.sort(np.argsort(row_order(rows.texts, rows.pairs, "fewer"), kind="stable")[:most])
    return rows.pick(chosen.tolist())


def _cut_train(
    rules: TaskKind,
    train: Rows,
    targets: np.ndarray,
    names: tuple[str, ...],
    selection: float | None,
    calibration: float | None,
) -> dict[str, Any]:
    if len(train) < FEWEST_ROWS:
        raise InputError(f"{train.source} leaves {len(train)} rows to learn from; at least {FEWEST_ROWS} are needed.")
    least = min(0.25, 10 / len(train))
    selection = selection or max(least, min(SELECTION_SHARE, MOST_SELECTION / len(train)))
    calibration = calibration or max(least, min(CALIBRATION_SHARE, MOST_CALIBRATION / len(train)))
    indices = cut(row_order(train.texts, train.pairs, "selection"), selection, calibration)
    roles: tuple[Role, ...] = ("selection", "calibration", "train")
    parts: dict[str, Any] = {}
    for role, chosen in zip(roles, indices, strict=True):
        if not len(chosen) or (role == "train" and rules.lone(targets[chosen], names) is not None):
            raise InputError(f"{train.source}: {len(train)} rows leave too few for the {role} part; give more rows.")
        parts[role] = rules.split(role, train.pick(chosen.tolist()), targets[chosen], names)
    return parts
