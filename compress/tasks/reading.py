"""From rows to a task: labels to ids, parts with one use each, no row on both sides."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.tasks import DEFAULT_KIND, FEWEST_FURTHER, TASKS
from compress.tasks.cutting import row_order
from compress.tasks.data.files import FORMATS, listed, shown_path, stem_of
from compress.tasks.data.joining import JOINABLE, Columns, check_joined, told_of_joining
from compress.tasks.data.lines import LINE, PARTED
from compress.tasks.data.rows import Rows
from compress.tasks.kind import TaskKind, read_rows, rules_for
from compress.tasks.known import Found, find
from compress.tasks.labelled import Task
from compress.tasks.parts import FEWEST_ROWS, cut_parts
from compress.tasks.split import Role, Split

logger = logging.getLogger(__name__)

IN_BOTH = "also in the evaluation data"
COLUMNS = ("text", "pair", "label")
OF_FILES = ("train", "validation", *COLUMNS, "quoting", "separator", "parted_by")
FROM_TRAIN = "from_train"
KIN_OF_PARTS = "kin of rows that are kept apart"


def read_task(
    data: str | Mapping[str, Any],
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
    evaluation: Mapping[str, Any] | None = None,
    abstain: Mapping[str, Any] | None = None,
) -> Task:
    """Read and cut; see `compress.tasks.task`."""
    if kind not in TASKS:
        raise InputError(f"task.kind is {shown(kind)}; allowed: {', '.join(TASKS)}.")
    rules = rules_for(kind, abstain)
    rules.check_names(labels)
    if metric is not None and metric not in rules.metrics:
        raise InputError(f"task.metric is {shown(metric)}; a task of {kind} is judged by {' or '.join(rules.metrics)}.")
    further = None if evaluation is None else _further(evaluation)
    dataset = find(data, data_dir, rules) if isinstance(data, str) else rows_of_files(data, data_dir, rules)
    if labels is None or set(labels) == set(dataset.labels or ()):
        dataset = dataset.with_names()
    names = tuple(labels) if labels is not None else dataset.labels or _names_of(rules, dataset)
    metric = metric or default_metric(rules, names)
    rules.check_metric(metric, names)
    train, removed = _learned_from(dataset, rows)
    evaluation_rows = dataset.validation
    parts = cut_parts(train, evaluation_rows, selection=selection, calibration=calibration, further=further)
    if parts.left_out:
        removed[KIN_OF_PARTS] = parts.left_out
    targets = rules.targets(train, names)
    evaluation_targets = (
        targets[parts.rows["evaluation"]] if evaluation_rows is None else rules.targets(evaluation_rows, names)
    )
    learned = np.concatenate([parts.rows[role] for role in ("selection", "calibration", "train")])
    _check_targets(rules, train, targets[learned], names, removed)
    if rules.lone(targets[parts.rows["train"]], names) is not None:
        raise InputError(f"{train.source}: {len(learned)} rows leave too few for the train part; give more rows.")
    lone = rules.lone(evaluation_targets, names)
    if lone is not None:
        logger.warning(
            "%s: every row to measure on has the %s %s.", (evaluation_rows or train).source, rules.noun, shown(lone)
        )

    def part(role: Role, rows: np.ndarray) -> Split:
        if role == "evaluation" and evaluation_rows is not None:
            return rules.split(role, evaluation_rows, evaluation_targets, names)
        return rules.split(role, train.pick(rows.tolist()), targets[rows], names)

    splits: dict[str, Any] = {role: part(role, rows) for role, rows in parts.rows.items()}
    return Task(
        name=name or (data if isinstance(data, str) else stem_of(Path(data["train"]))),
        kind=kind,
        labels=names,
        max_length=max_length,
        metric=metric,
        **splits,
        source=dataset.source,
        licence=dataset.licence,
        removed=removed,
        kin=parts.kin,
        abstain=_given(abstain),
        joined={} if isinstance(data, str) else told_of_joining(_columns(data), data.get("separator")),
        allow_unknown=allow_unknown,
    )


def _names_of(rules: TaskKind, dataset: Found) -> tuple[str, ...]:
    """What the outputs are called: as the rows to learn from tell or, where they tell nothing, those that are measured on."""
    return rules.names(dataset.train) or rules.names_of_outputs(dataset.validation or dataset.train, ())


def default_metric(rules: TaskKind, names: tuple[str, ...]) -> str:
    """The kind's first score; of vectors the first that can decide, which depends on what is known of the texts."""
    for metric in () if rules.head.is_named else rules.metrics:
        try:
            rules.check_metric(metric, names)
        except InputError:
            continue
        return metric
    return rules.metrics[0]


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (options or {}).items() if value is not None}


def _further(evaluation: Mapping[str, Any]) -> int:
    unknown = [key for key in evaluation if key != FROM_TRAIN]
    count = evaluation.get(FROM_TRAIN)
    if unknown or type(count) is not int or count < FEWEST_FURTHER:
        raise InputError(
            f"task.evaluation is {shown(evaluation)}; allowed: {{{FROM_TRAIN}: N}}, a whole number at least {FEWEST_FURTHER}."
        )
    return int(count)


def read_evaluation(
    path: Path,
    columns: Columns,
    labels: Sequence[str],
    max_length: int,
    allow_unknown: bool = False,
    kind: str = DEFAULT_KIND,
    separator: str | None = None,
    abstain: Mapping[str, Any] | None = None,
) -> Task:
    """Read one file to measure on; see `compress.tasks.evaluation_task`."""
    rules = rules_for(kind, abstain)
    rules.check_names(labels)
    rows = read_rows(rules, path, columns, separator=separator)
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
        metric=default_metric(rules, names),
        **empty,
        evaluation=rules.split("evaluation", rows, targets, names),
        source=path.name,
        joined=told_of_joining(columns, separator),
        abstain=_given(abstain),
        allow_unknown=allow_unknown,
    )


def rows_of_files(data: Mapping[str, Any], data_dir: str | None, rules: TaskKind) -> Found:
    """Read the files that a recipe names, as a kind of task wants their rows."""
    unknown = [key for key in data if key not in OF_FILES]
    if unknown or not data.get("train"):
        what = f"data has an unknown key {shown(unknown[0])}" if unknown else "data names no train file"
        raise InputError(f"{what}; allowed: {', '.join(OF_FILES)}, and train must be there.")
    lists = [key for key in JOINABLE if isinstance(data.get(key), list | tuple)]
    others = {key: value for key, value in data.items() if key not in lists and value is not None}
    wrong = next((key for key, value in others.items() if not isinstance(value, str | Path)), None)
    if wrong:
        raise InputError(f"data.{wrong} is {shown(data[wrong])}; give a text.")
    if "separator" in others and not lists:
        raise InputError(f"data.separator is {shown(data['separator'])}, but no texts are joined; leave it out.")
    if others.get("parted_by", LINE) not in PARTED:
        raise InputError(f"data.parted_by is {shown(others['parted_by'])}; allowed: {', '.join(PARTED)}.")
    columns = _columns(data)
    check_joined(columns)
    train = _rows_of(rules, data_dir, data["train"], columns, data)
    validation = _rows_of(rules, data_dir, data["validation"], columns, data) if data.get("validation") else None
    if rules.head.reads_pairs and validation is not None and (train.pairs is None) != (validation.pairs is None):
        raise InputError(f"only one of {train.source} and {validation.source} has pairs; name the columns with text and pair.")
    return Found(train, validation, None, Path(train.source).name, None, {})


def _columns(data: Mapping[str, Any]) -> Columns:
    """The columns that are named: one for each role, or of a text several, which are joined."""
    given = {role: data[role] for role in COLUMNS if data.get(role) not in (None, "")}
    return {role: tuple(names) if isinstance(names, list | tuple) else str(names) for role, names in given.items()}


def _rows_of(rules: TaskKind, data_dir: str | None, name: str, columns: Columns, data: Mapping[str, Any]) -> Rows:
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
    return read_rows(rules, path, columns, data.get("quoting"), data.get("separator"), data.get("parted_by"))


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


def _learned_from(dataset: Found, most: int | None) -> tuple[Rows, dict[str, int]]:
    """The training rows that are not evaluation rows too, and what was left out."""
    removed = {reason: count for reason, count in dataset.removed.items() if count}
    train = _fewer(dataset.train, most)
    if dataset.validation is None:
        return train, removed
    measured = set(dataset.validation.keys())
    kept = [index for index, key in enumerate(train.keys()) if key not in measured]
    both = len(train) - len(kept)
    evaluated = dataset.validation.source
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
    return train.pick(kept), removed


def _fewer(rows: Rows, most: int | None) -> Rows:
    if most is None or len(rows) <= most:
        return rows
    chosen = np.sort(np.argsort(row_order(rows.texts, rows.pairs, "fewer"), kind="stable")[:most])
    return rows.pick(chosen.tolist())
