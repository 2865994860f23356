"""From rows to a task: labels to ids, parts with one use each, no row on both sides."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compress.errors import InputError
from compress.labels import are_numbers, listed
from compress.tasks.cutting import cut, row_order
from compress.tasks.known import Found, find
from compress.tasks.sources import MOST_SHOWN, SUFFIXES, Rows, read_file
from compress.tasks.split import Role, Split
from compress.tasks.text_classification import Task, text_classification

logger = logging.getLogger(__name__)

COLUMNS = ("text", "pair", "label")
EVALUATION_SHARE = 0.2
SELECTION_SHARE, MOST_SELECTION = 0.1, 2000
CALIBRATION_SHARE, MOST_CALIBRATION = 0.05, 500
FEWEST_ROWS = 16
MOST_LABELS = 1000


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
        raise InputError(f"task.kind is {kind!r}; allowed: text-classification.")
    _check_labels(labels)
    found = find(data, data_dir) if isinstance(data, str) else _files(data, data_dir)
    names = tuple(labels) if labels is not None else found.labels or _label_names(found.train)
    if metric == "f1" and len(names) != 2:
        raise InputError(f"task.metric f1 needs two labels, the data has {len(names)}; use accuracy.")
    train, evaluation, removed = _apart(found, rows)
    train_ids = _ids(train, names)
    evaluation_ids = _ids(evaluation, names)
    if len(set(train_ids.tolist())) < 2:
        raise InputError(
            f"{train.source}: every row has the label {names[train_ids[0]]!r}; at least two labels are needed to learn from."
        )
    if len(set(evaluation_ids.tolist())) < 2:
        logger.warning("%s: every row to measure on has the label %r.", evaluation.source, names[evaluation_ids[0]])
    parts = _cut_train(train, train_ids, selection, calibration)
    return text_classification(
        name=name or (data if isinstance(data, str) else Path(data["train"]).stem), labels=names, max_length=max_length,
        metric=metric, **parts, evaluation=_split("evaluation", evaluation, evaluation_ids), source=found.source,
        licence=found.licence, removed=removed, allow_unknown=allow_unknown,
    )  # fmt: skip


def read_evaluation(
    path: Path, columns: Mapping[str, str], labels: Sequence[str], max_length: int, allow_unknown: bool = False
) -> Task:
    """Read one file to measure on; see `compress.tasks.evaluation_task`."""
    _check_labels(labels)
    rows = read_file(path, columns)
    names = _names_of_outputs(rows, tuple(labels))
    ids = _ids(rows, names)
    nothing = rows.pick([])
    roles: tuple[Role, ...] = ("train", "selection", "calibration")
    empty = {role: _split(role, nothing, ids[:0]) for role in roles}
    return text_classification(
        name=path.stem, labels=names, max_length=max_length, metric="accuracy", **empty,
        evaluation=_split("evaluation", rows, ids), source=str(path), allow_unknown=allow_unknown,
    )  # fmt: skip


def _names_of_outputs(rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the outputs of a model are called: the file's own labels where the model has only numbers for them."""
    if not are_numbers(names) or set(rows.labels) <= {*names, *map(str, range(len(names)))}:
        return names
    own = _label_names(rows)
    if len(own) != len(names):
        return names
    logger.warning("the model does not name its %d labels; they are read as %s.", len(names), listed(own))
    return own


def _check_labels(labels: Sequence[str] | None) -> None:
    if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels)):
        raise InputError(f"labels are {', '.join(map(str, labels)) or 'empty'}; name at least two, each once.")


def _files(data: Mapping[str, str], data_dir: str | None) -> Found:
    allowed = ("train", "validation", *COLUMNS, "quoting")
    unknown = [key for key in data if key not in allowed]
    if unknown or not data.get("train"):
        what = f"data has an unknown key {unknown[0]!r}" if unknown else "data names no train file"
        raise InputError(f"{what}; allowed: {', '.join(allowed)}, and train must be there.")
    base = Path(data_dir).expanduser() if data_dir else Path()
    columns = {role: data[role] for role in COLUMNS if data.get(role)}
    train = _rows_of(base, data["train"], columns, data)
    validation = _rows_of(base, data["validation"], columns, data) if data.get("validation") else None
    if validation is not None and (train.pairs is None) != (validation.pairs is None):
        raise InputError(f"only one of {train.source} and {validation.source} has pairs; name the columns with text and pair.")
    return Found(train, validation, None, train.source, None, {})


def _rows_of(base: Path, name: str, columns: Mapping[str, str], data: Mapping[str, str]) -> Rows:
    path = base / Path(name).expanduser()
    if not path.suffix and not path.exists():
        raise InputError(f"data file {path} does not exist; give a file that ends in {', '.join(SUFFIXES)}.")
    return read_file(path, columns, data.get("quoting"))


def _label_names(rows: Rows) -> tuple[str, ...]:
    counted = Counter(rows.labels)
    if len(counted) > min(MOST_LABELS, max(2, len(rows) // 2)):
        raise InputError(
            f"{rows.source}, column {rows.label_column!r} holds {len(counted)} different values in {len(rows)} rows, which is "
            "no label; name the label's column with data.label."
        )
    if all(name.isdecimal() for name in counted):
        return tuple(sorted(counted, key=int))
    return tuple(sorted(counted))


def _ids(rows: Rows, names: tuple[str, ...]) -> np.ndarray:
    by_name = {name: index for index, name in enumerate(names)}
    numbers = {str(index): index for index in range(len(names))}
    held = set(rows.labels)
    known = numbers if held <= set(numbers) and not held <= set(by_name) else by_name
    wrong = [(line, label) for line, label in zip(rows.lines, rows.labels, strict=True) if label not in known]
    if wrong:
        lines = [f"  line {line}, column {rows.label_column!r}: {label[:60]!r}" for line, label in wrong[:MOST_SHOWN]]
        more = [f"  and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise InputError("\n".join([
            f"{rows.source} has labels that are unknown; allowed: {shown} (or their ids 0 to {len(names) - 1}). Correct the "
            "rows, or name all labels with task.labels:", *lines, *more,
        ]))  # fmt: skip
    return np.array([known[label] for label in rows.labels], dtype=np.int64)


def _apart(found: Found, most: int | None) -> tuple[Rows, Rows, dict[str, int]]:
    """Training and evaluation rows without a row on both sides, and what was left out."""
    removed = {reason: count for reason, count in found.removed.items() if count}
    train = _fewer(found.train, most)
    if found.validation is None:
        if len(train) < FEWEST_ROWS:
            raise InputError(f"{train.source} has {len(train)} rows; at least {FEWEST_ROWS} are needed to cut it into parts.")
        share = max(EVALUATION_SHARE, min(0.3, 10 / len(train)))
        held, rest = cut(row_order(train.texts, train.pairs, "evaluation"), share)
        return train.pick(rest.tolist()), train.pick(held.tolist()), removed
    measured = set(found.validation.keys())
    kept = [index for index, key in enumerate(train.keys()) if key not in measured]
    both = len(train) - len(kept)
    if both:
        removed["also in the evaluation data"] = both
        evaluated = found.validation.source
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


