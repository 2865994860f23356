"""From rows to a task: labels to ids, parts with one use each, no row on both sides."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compress.errors import InputError, shown
from compress.labels import are_numbers
from compress.tasks.cutting import cut, row_order
from compress.tasks.data.files import listed, read_file, shown_path, stem_of
from compress.tasks.data.mistakes import MOST_SHOWN
from compress.tasks.data.rows import Rows
from compress.tasks.known import Found, find
from compress.tasks.labels import check_label_names, in_order, match_labels, names_shown, written_twice
from compress.tasks.split import Role, Split
from compress.tasks.text_classification import Task, text_classification

logger = logging.getLogger(__name__)

IN_BOTH = "also in the evaluation data"
COLUMNS = ("text", "pair", "label")
EVALUATION_SHARE = 0.2
SELECTION_SHARE, MOST_SELECTION = 0.1, 2000
CALIBRATION_SHARE, MOST_CALIBRATION = 0.05, 500
FEWEST_ROWS = 16
MOST_DISTINCT = 0.75
"""Values of a label come back; a column of which more than this fraction differs is a text, or a number that is measured."""


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
    metric: str,
    rows: int | None,
    allow_unknown: bool,
) -> Task:
    """Read and cut; see `compress.tasks.task`."""
    if kind != "text-classification":
        raise InputError(f"task.kind is {shown(kind)}; allowed: text-classification.")
    check_label_names(labels)
    found = find(data, data_dir) if isinstance(data, str) else _files(data, data_dir)
    if labels is None or set(labels) == set(found.labels or ()):
        found = found.with_names()
    names = tuple(labels) if labels is not None else found.labels or _label_names(found.train)
    if metric == "f1" and len(names) != 2:
        raise InputError(f"task.metric f1 needs two labels, the data has {len(names)}; use accuracy.")
    train, evaluation, removed = _apart(found, rows)
    train_ids = _ids(train, names)
    evaluation_ids = _ids(evaluation, names)
    _check_classes(train, train_ids, names, removed)
    if len(set(evaluation_ids.tolist())) < 2:
        logger.warning("%s: every row to measure on has the label %s.", evaluation.source, shown(names[evaluation_ids[0]]))
    parts = _cut_train(train, train_ids, selection, calibration)
    return text_classification(
        name=name or (data if isinstance(data, str) else stem_of(Path(data["train"]))),
        labels=names,
        max_length=max_length,
        metric=metric,
        **parts,
        evaluation=_split("evaluation", evaluation, evaluation_ids),
        source=found.source,
        licence=found.licence,
        removed=removed,
        allow_unknown=allow_unknown,
    )


def read_evaluation(
    path: Path, columns: Mapping[str, str], labels: Sequence[str], max_length: int, allow_unknown: bool = False
) -> Task:
    """Read one file to measure on; see `compress.tasks.evaluation_task`."""
    check_label_names(labels)
    rows = read_file(path, columns)
    names = _names_of_outputs(rows, tuple(labels))
    ids = _ids(rows, names)
    nothing = rows.pick([])
    roles: tuple[Role, ...] = ("train", "selection", "calibration")
    empty = {role: _split(role, nothing, ids[:0]) for role in roles}
    return text_classification(
        name=stem_of(path),
        labels=names,
        max_length=max_length,
        metric="accuracy",
        **empty,
        evaluation=_split("evaluation", rows, ids),
        source=str(path),
        allow_unknown=allow_unknown,
    )


def _names_of_outputs(rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the outputs of a model are called: the file's own labels where the model has only numbers for them."""
    if not are_numbers(names) or set(rows.labels) <= {*names, *map(str, range(len(names)))}:
        return names
    own = _label_names(rows)
    if len(own) != len(names):
        return names
    logger.warning("the model does not name its %d labels; they are read as %s.", len(names), names_shown(own))
    return own


def _files(data: Mapping[str, str], data_dir: str | None) -> Found:
    allowed = ("train", "validation", *COLUMNS, "quoting")
    unknown = [key for key in data if key not in allowed]
    if unknown or not data.get("train"):
        what = f"data has an unknown key {shown(unknown[0])}" if unknown else "data names no train file"
        raise InputError(f"{what}; allowed: {', '.join(allowed)}, and train must be there.")
    wrong = next((key for key, value in data.items() if value is not None and not isinstance(value, str | Path)), None)
    if wrong:
        raise InputError(f"data.{wrong} is {shown(data[wrong])}; give a text.")
    columns = {role: str(data[role]) for role in COLUMNS if data.get(role)}
    train = _rows_of(data_dir, data["train"], columns, data)
    validation = _rows_of(data_dir, data["validation"], columns, data) if data.get("validation") else None
    if validation is not None and (train.pairs is None) != (validation.pairs is None):
        raise InputError(f"only one of {train.source} and {validation.source} has pairs; name the columns with text and pair.")
    return Found(train, validation, None, train.source, None, {})


def _rows_of(data_dir: str | None, name: str, columns: Mapping[str, str], data: Mapping[str, str]) -> Rows:
    try:
        path = (Path(data_dir).expanduser() if data_dir else Path()) / Path(name).expanduser()
        is_there = bool(path.suffix) or path.exists()
    except (RuntimeError, OSError, ValueError) as err:  # no such user, or a name that no file can have
        why = getattr(err, "strerror", None) or str(err)
        raise InputError(f"data file {shown(str(name), 200)} is no path ({why}); give that of a file.") from err
    if not is_there:
        raise InputError(f"data file {shown_path(path)} does not exist; give a file that ends in {listed()}.")
    return read_file(path, columns, data.get("quoting"))


def _label_names(rows: Rows) -> tuple[str, ...]:
    counted = Counter(rows.labels)
    if len(counted) > max(2, MOST_DISTINCT * len(rows)):
        raise InputError(
            f"{rows.source}, column {rows.label_column!r} holds {len(counted)} different values in {len(rows)} rows, which is "
            "no label; name the label's column with data.label, or all labels with task.labels."
        )
    if spellings := written_twice(counted):
        raise InputError(
            f"{rows.source}, column {rows.label_column!r} holds the labels {' and '.join(map(shown, spellings))}, one number "
            "in two spellings; write it in one of them."
        )
    return tuple(in_order(counted))


def _ids(rows: Rows, names: tuple[str, ...]) -> np.ndarray:
    """The id of each row's label; see `compress.tasks.labels` for what a label may be."""
    match = match_labels(rows.labels, names)
    if match.unknown:
        unknown = set(match.unknown)
        wrong = [(line, label) for line, label in zip(rows.lines, rows.labels, strict=True) if label in unknown]
        lines = [f"  {rows.unit} {line}, column {rows.label_column!r}: {shown(label)}" for line, label in wrong[:MOST_SHOWN]]
        more = [f"  and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        what = match.why or "Correct the rows, or name all labels with task.labels"
        raise InputError(
            "\n".join(
                [
                    f"{rows.source} has labels that are unknown; allowed: {names_shown(names)} (or their ids 0 to "
                    f"{len(names) - 1}, where that is certain). {what}:",
                    *lines,
                    *more,
                ]
            )
        )
    return np.array([match.ids[label] for label in rows.labels], dtype=np.int64)


def _check_classes(train: Rows, ids: np.ndarray, names: tuple[str, ...], removed: Mapping[str, int]) -> None:
    """Check that there are two labels to learn, with the reason where rows were left out that had the others."""
    if len(set(ids.tolist())) < 2:
        both = removed.get(IN_BOTH, 0)
        why = (
            f"; the {both} other rows stand in the evaluation data too and are not learned from. Give training rows that "
            "do not stand there"
            if both
            else ""
        )
        only = shown(names[ids[0]])
        raise InputError(f"{train.source}: every row has the label {only}; at least two labels are needed to learn from{why}.")


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


def _cut_train(train: Rows, ids: np.ndarray, selection: float | None, calibration: float | None) -> dict[str, Split]:
    if len(train) < FEWEST_ROWS:
        raise InputError(f"{train.source} leaves {len(train)} rows to learn from; at least {FEWEST_ROWS} are needed.")
    least = min(0.25, 10 / len(train))
    selection = selection or max(least, min(SELECTION_SHARE, MOST_SELECTION / len(train)))
    calibration = calibration or max(least, min(CALIBRATION_SHARE, MOST_CALIBRATION / len(train)))
    indices = cut(row_order(train.texts, train.pairs, "selection"), selection, calibration)
    roles: tuple[Role, ...] = ("selection", "calibration", "train")
    parts: dict[str, Split] = {}
    for role, chosen in zip(roles, indices, strict=True):
        if not len(chosen) or (role == "train" and len(set(ids[chosen].tolist())) < 2):
            raise InputError(f"{train.source}: {len(train)} rows leave too few for the {role} part; give more rows.")
        parts[role] = _split(role, train.pick(chosen.tolist()), ids[chosen])
    return parts


def _split(role: Role, rows: Rows, ids: np.ndarray) -> Split:
    return Split(role, rows.texts, rows.pairs, ids)
