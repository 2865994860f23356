"""What a stranger's data is: its kind where that is certain, how much there is, and how long its texts are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from compress.tasks import DEFAULT_KIND, TASKS, kind_named
from compress.tasks.data.rows import Rows
from compress.tasks.kind import TaskKind, load_kind
from compress.tasks.known import find
from compress.tasks.reading import rows_of_files
from compress.tasks.split import Split

MOST_LABELS = 0.5
"""Different labels for each row from which texts to be written are likelier than labels."""


@dataclass(frozen=True)
class DataFacts:
    """What can be told of data before anything is learned from it.

    Args:
        kind: Of the task.
        rows: To learn from, before any are kept apart.
        validation: Rows that the data itself keeps apart to be measured on; None where it does not.
        labels: Names of the outputs; empty where there are none.
        pairs: Whether two texts are read as one.
        words: Of a text, both of a pair: the middle, and the longest but for one in twenty.
    """

    kind: str
    rows: int
    validation: int | None
    labels: tuple[str, ...]
    pairs: bool
    words: tuple[int, int]

    @property
    def head(self) -> Head:
        """That models for it have."""
        return load_kind(self.kind).head


def look_at(data: str | Mapping[str, Any], kind: str | None = None, data_dir: str | None = None) -> DataFacts:
    """Look at data: a known name, or files as a recipe names them.

    Args:
        data: As `task.data` of a recipe.
        kind: Of the task; None tells it from the data where that is certain.
        data_dir: The folder of a known set's files.

    Raises:
        InputError: The data is missing or wrong, or no kind, or more than one, can be meant.
    """
    named = None if kind is None else kind_named(kind)
    if named is not None and named not in TASKS:
        raise InputError(f"--kind is {shown(kind)}; allowed: {', '.join(TASKS)}.")
    chosen = named or _kind_of(data, data_dir)
    rules = load_kind(chosen)
    train, validation = _rows(rules, data, data_dir)
    if not len(train):
        raise InputError(f"{train.source} has no rows; give data to learn from.")
    names = rules.names(train)
    split = rules.split("train", train, rules.targets(train, names), names)
    return DataFacts(
        chosen,
        len(train),
        None if validation is None else len(validation),
        names if rules.head.is_named and not rules.head.writes else (),
        split.are_pairs,
        _words(split, rules.head),
    )


def _rows(rules: TaskKind, data: str | Mapping[str, Any], data_dir: str | None) -> tuple[Rows, Rows | None]:
    dataset = find(data, data_dir, rules).with_names() if isinstance(data, str) else rows_of_files(data, data_dir, rules)
    return dataset.train, dataset.validation


def _kind_of(data: str | Mapping[str, Any], data_dir: str | None) -> str:
    """The one kind that the data can be meant for."""
    if isinstance(data, str):
        kinds = [name for name in TASKS if data in load_kind(name).known]
        if not kinds and "/" not in data:
            find(data, data_dir, load_kind(DEFAULT_KIND))  # raises, with the names that there are
        if len(kinds) == 1:
            return kinds[0]
        raise InputError(f"--kind is missing, which {shown(data)} does not tell; give {' or '.join(kinds or TASKS)}.")
    readable, why = _readable(data, data_dir)
    if not readable:
        assert why is not None
        raise why
    kinds = _likely(readable)
    if len(kinds) > 1:
        raise InputError(f"the data can be meant for {' or '.join(kinds)}; tell which with --kind.")
    return kinds[0]


def _readable(data: Any, data_dir: str | None) -> tuple[dict[str, Rows], InputError | None]:
    """The kinds that can read the data, with the rows; and what the first one says against it."""
    readable: dict[str, Rows] = {}
    first: InputError | None = None
    for name in TASKS:
        rules = load_kind(name)
        try:
            rows = _rows(rules, data, data_dir)[0]
            rules.targets(rows, rules.names(rows))
        except InputError as err:
            first = first or err
            continue
        readable[name] = rows
    return readable, first


def _likely(readable: Mapping[str, Rows]) -> list[str]:
    """Of the kinds that can read data those that it can be meant for: kinds that need no labels only where no other one can,
    and of those that read labels what the labels look like."""
    heads = {name: load_kind(name).head for name in readable}
    free = [name for name, head in heads.items() if head.gives_vectors or head.of_pieces]
    labelled = [name for name in readable if name not in free]
    if not labelled:
        return free
    scored = [name for name in labelled if heads[name].problem_type == REGRESSION and not heads[name].ranks]
    if len(labelled) == 1:
        rows = readable[labelled[0]]
        vectors = [name for name in free if heads[name].gives_vectors] if scored and rows.pairs else []
        return [*labelled, *vectors]
    single = next((name for name in labelled if heads[name].problem_type == SINGLE_LABEL), None)
    if single is None:
        return labelled
    rows = readable[single]
    others = [name for name in labelled if name != single]
    if not all(isinstance(label, str) for label in rows.labels):  # probabilities of labels
        return [single]
    several = [name for name in others if heads[name].problem_type == MULTI_LABEL and _are_several(readable[name])]
    written = [name for name in others if heads[name].writes and len(set(rows.labels)) > MOST_LABELS * len(rows)]
    return [single, *several, *written, *(scored if len(set(rows.labels)) > 2 else [])]


def _are_several(rows: Rows) -> bool:
    return any(not isinstance(label, str) and len(label) != 1 for label in rows.labels)


def _words(split: Split, head: Head) -> tuple[int, int]:
    """Words of what a model reads at once: a text with its second one or its longest passage, or each text by itself."""
    counts = np.array([len(text.split()) for text in split.texts])
    if split.passages is not None:
        counts = counts + [max((len(passage.split()) for passage in row), default=0) for row in split.passages]
    if split.pairs is not None:
        seconds = np.array([len(pair.split()) for pair in split.pairs])
        counts = counts + seconds if head.reads_pairs else np.maximum(counts, seconds)
    return int(np.median(counts)), int(np.percentile(counts, 95))
