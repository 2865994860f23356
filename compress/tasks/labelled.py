"""A task: data cut into parts with one use each, and the rules of its kind."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.models.families import longest_text
from compress.tasks.groups import figures_of
from compress.tasks.kind import TaskKind, rules_for
from compress.tasks.split import Split

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks.encoding import Encoded

logger = logging.getLogger(__name__)

TINY_LENGTH = 32
HASH_DIGITS = 24


@dataclass(frozen=True, eq=False)
class Task:
    """A labelled data set, cut into parts with one use each.

    Args:
        name: Short, for tables.
        kind: One of TASKS; `rules` are its.
        labels: Names of a model's outputs in the order of their ids.
        max_length: Longest example in tokens; longer ones are cut.
        metric: The score that decides; one of the kind's.
        train: What the weights learn from.
        selection: Picks epochs; cut from the training data.
        calibration: Sentences for quantization and parity checks; cut from the training data.
        evaluation: Measured on, and nothing else.
        further: Measured on beside the evaluation part, and nothing else; cut from the training data if it is asked for.
        fingerprint: A hash of every example, its role and label, the label names and the length.
        warned: Lengths of the task and of a model that reads less, of which was told already.
        source: Where the data came from.
        licence: As stated there, None if it is not known.
        removed: How many rows were left out, by reason.
        kin: Of each part the `groups` of rows that are kin, and the share of its rows that are kin of training rows, `leak`.
        joined: By role the columns that texts were joined of, and the `separator` between them; empty where none were.
        abstain: When none is answered, as the recipe says it; empty where that is never so.
        allow_unknown: Go on where a tokenizer does not know more than a third of the text.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    max_length: int
    metric: str
    train: Split
    selection: Split
    calibration: Split
    evaluation: Split
    source: str
    licence: str | None = None
    further: Split | None = None
    removed: dict[str, int] = field(default_factory=dict)
    kin: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    joined: Mapping[str, Any] = field(default_factory=dict)
    abstain: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    allow_unknown: bool = False
    warned: set[tuple[int, int]] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", self._fingerprint())

    @property
    def rules(self) -> TaskKind:
        """What its kind says of heads, losses, answers and scores."""
        return rules_for(self.kind, self.abstain or None)

    def splits(self) -> tuple[Split, ...]:
        """All parts."""
        parts = (self.train, self.selection, self.calibration, self.evaluation)
        return parts if self.further is None else (*parts, self.further)

    def apart(self) -> tuple[Split, ...]:
        """The parts that nothing may be learned from."""
        return tuple(split for split in self.splits() if split.role in ("selection", "evaluation", "further"))

    def encode(self, split: Split, tokenizer: Any) -> Encoded:
        """Turn a part into token ids of at most `max_length`."""
        return self.rules.encode(split, tokenizer, self.max_length)

    def up_to(self, tokens: int) -> Task:
        """The same task, of whose texts at most so many tokens are read."""
        return self if tokens >= self.max_length else replace(self, max_length=tokens)

    def read_by(self, model: PreTrainedModel) -> Task:
        """The same task as a model reads it: its texts have no more tokens than the model has positions.

        Whatever encodes a task's texts for a model asks for this first.
        """
        return self.within(longest_text(model.config))

    def within(self, positions: int) -> Task:
        """The same task as a model of so many positions reads it; that texts are cut to fewer tokens than the task has is told
        once."""
        if positions < self.max_length and (self.max_length, positions) not in self.warned:
            self.warned.add((self.max_length, positions))
            logger.warning(
                "the model reads %d tokens at most: of the task's texts, of up to %d, it gets the first %d; give "
                "the task a max_length of %d, or let swap_attention extend the model",
                positions,
                self.max_length,
                positions,
                positions,
            )
        return self.up_to(positions)

    def score(self, answers: np.ndarray, targets: Any) -> dict[str, float]:
        """The kind's scores of answers, the deciding one among them; see `TaskKind`."""
        return self.rules.score(answers, targets, self.metric)

    def capped(self, count: int) -> Task:
        """The same task with about `count` examples in each part, every label kept, and short ones."""
        parts: dict[str, Any] = {split.role: split.pick(self.rules.few(split, count)) for split in self.splits()}
        kin = figures_of(list(parts.values()))
        return replace(self, **parts, kin=kin, max_length=min(self.max_length, TINY_LENGTH), allow_unknown=True)

    def judged_on_selection(self) -> Task:
        """The same task whose selection part stands where the evaluation part stood, for comparing many models before one of
        them is measured: what measures with it cannot reach the rows that were there, nor the further ones."""
        measured = replace(self.selection.require("selection"), role="evaluation")
        kin = {role: figures for role, figures in self.kin.items() if role not in ("evaluation", "further")}
        return replace(self, evaluation=measured, further=None, kin=kin)

    def describe(self) -> dict[str, Any]:
        """Counts of examples by part and label, mean words, source and licence."""
        return {
            "name": self.name,
            "kind": self.kind,
            "source": self.source,
            "licence": self.licence,
            "labels": list(self.labels),
            "max_length": self.max_length,
            **{key: dict(value) for key, value in (("joined", self.joined), ("abstain", self.abstain)) if value},
            "removed": dict(self.removed),
            "splits": {
                split.role: {
                    "examples": len(split),
                    "fingerprint": _fingerprint(split),
                    **self.kin.get(split.role, {}),
                    **self.rules.counts(split, self.labels),
                    "mean_words": round(sum(len(text.split()) for text in split.texts) / max(1, len(split)), 1),
                }
                for split in self.splits()
            },
        }

    def _fingerprint(self) -> str:
        options = (sorted(self.abstain.items()),) if self.abstain else ()
        total = hashlib.sha256(repr((self.labels, self.max_length, self.metric, *options)).encode())
        for split in self.splits():
            for piece in _contents(split):
                total.update(piece)
        return total.hexdigest()[:HASH_DIGITS]


def _fingerprint(split: Split) -> str:
    """A hash of every example of a part."""
    total = hashlib.sha256()
    for piece in _contents(split):
        total.update(piece)
    return total.hexdigest()[:HASH_DIGITS]


def _contents(split: Split) -> Iterator[bytes]:
    """A part's role, then every example of it."""
    yield split.role.encode()
    targets = (np.asarray(target).tolist() for target in split.labels)
    for text, pair, target in zip(split.texts, split.pairs or split.texts, targets, strict=True):
        yield f"{text}\x1f{pair if split.pairs else ''}\x1f{target}\x1e".encode()
    for passages in split.passages or ():
        yield "\x1f".join([*passages, "\x1e"]).encode()
